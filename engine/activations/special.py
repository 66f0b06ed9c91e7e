"""Functions that NumPy lacks or computes slowly, on whole arrays and without allocation."""

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from engine.backends.base import Array

ERF_SCRATCH: Final = 5
"""Number of scratch arrays that `erf` needs."""

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation
# 23 (1969), 631-637. Below SMALL erf(t) = t P(t²)/Q(t²), above it 1 − erf(t) = e^(−t²) R(t)/S(t).
# Cody gives R/S up to t = 4; beyond, the factor e^(−t²) < 1.2e-7 leaves an error below 1e-22.
SMALL: Final = 0.46875
FAR: Final = 27.0  # e^(−27²) is 0 in float64; a larger t would overflow its powers in float32
P: Final = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
Q: Final = (
    1.0,
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
)
R: Final = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
S: Final = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)


def above_zero(xp: Any, x: Array, out: Array) -> None:
    """Write max(x, 0); NaN stays NaN.

    `clip` has vector loops in NumPy: 3 × as fast as `maximum` of an array and a number, which has
    none.
    """
    xp.clip(x, 0, inf, out=out)


def below_zero(xp: Any, x: Array, out: Array) -> None:
    """Write min(x, 0); NaN stays NaN."""
    xp.clip(x, -inf, 0, out=out)


def erf(xp: Any, x: Array, out: Array, scratch: Sequence[Array]) -> None:
    """Write 2/√π ∫₀ˣ e^(−t²) dt into `out`, which may be x; exact to 3e-16 in float64.

    `scratch` holds ERF_SCRATCH arrays like x. Both approximations are evaluated everywhere and one
    is chosen by a factor 0 or 1, because a mask would have to be allocated.
    """
    t, near, far, square, other = scratch
    xp.absolute(x, out=t)
    xp.minimum(t, FAR, out=t)
    xp.multiply(t, t, out=square)
    _polynomial(xp, P, square, near)
    _polynomial(xp, Q, square, other)
    xp.divide(near, other, out=near)
    xp.multiply(near, t, out=near)
    _polynomial(xp, R, t, far)
    _polynomial(xp, S, t, other)
    xp.divide(far, other, out=far)
    xp.negative(square, out=square)
    xp.exp(square, out=square)
    xp.multiply(far, square, out=far)
    xp.subtract(1, far, out=far)
    xp.subtract(near, far, out=near)
    xp.less(t, SMALL, out=other)
    xp.multiply(near, other, out=near)
    xp.add(near, far, out=near)
    xp.copysign(near, x, out=out)


def _polynomial(xp: Any, coefficients: Sequence[float], x: Array, out: Array) -> None:
    """Write the polynomial into `out`, highest power first, by Horner's rule."""
    xp.multiply(x, coefficients[0], out=out)
    for coefficient in coefficients[1:-1]:
        xp.add(out, coefficient, out=out)
        xp.multiply(out, x, out=out)
    xp.add(out, coefficients[-1], out=out)


def sigmoid(xp: Any, x: Array, out: Array) -> None:
    """Write 1 / (1 + e⁻ˣ) into `out`, which may be x.

    Computed as ½ (1 + tanh(x/2)): e⁻ˣ would overflow in float32 for x < −88.
    """
    xp.multiply(x, 0.5, out=out)
    xp.tanh(out, out=out)
    xp.multiply(out, 0.5, out=out)
    xp.add(out, 0.5, out=out)
