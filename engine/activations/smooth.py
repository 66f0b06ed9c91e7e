"""Smooth activations: sigmoids, and forms of ReLU without a kink."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from engine.activations.base import Activation, Scratch, activations
from engine.activations.special import ERF_SCRATCH, above_zero, erf, sigmoid
from engine.backends.base import Array, Backend
from engine.errors import UnknownNameError


@activations.register("tanh")
@dataclass(frozen=True)
class Tanh(Activation):
    """f(x) = tanh x, in [−1, 1]; f′ = 1 − y², below 0.06 where |y| > 0.97."""

    kernels = "", "tanh_backward"
    saturated = (-0.97, 0.97)
    bounds = (-1.0, 1.0)

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        backend.xp.tanh(x, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp = backend.xp
        xp.multiply(y, y, out=dx)
        xp.subtract(1, dx, out=dx)
        xp.multiply(dx, dy, out=dx)


@activations.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(Activation):
    """f(x) = 1 / (1 + e⁻ˣ), in [0, 1]; f′ = y (1 − y) ≤ ¼."""

    kernels = "", "sigmoid_backward"
    saturated = (0.03, 0.97)
    bounds = (0.0, 1.0)

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        sigmoid(backend.xp, x, y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp = backend.xp
        xp.subtract(1, y, out=dx)
        xp.multiply(dx, y, out=dx)
        xp.multiply(dx, dy, out=dx)


@activations.register("softplus")
@dataclass(frozen=True)
class Softplus(Activation):
    """f(x) = ln(1 + eˣ), a smooth ReLU; f′ = 1 − e⁻ʸ, below 0.03 where y < 0.03.

    Computed as max(0, x) + ln(1 + e^−|x|), which cannot overflow. Above 20 PyTorch returns x
    itself, which is 2e-9 less.
    """

    scratch: ClassVar = 1
    saturated = (0.03, math.inf)
    bounds = (0.0, None)

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        xp, (above,) = backend.xp, scratch
        xp.absolute(x, out=y)
        xp.negative(y, out=y)
        xp.exp(y, out=y)
        xp.log1p(y, out=y)
        above_zero(xp, x, above)
        xp.add(y, above, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp = backend.xp
        xp.negative(y, out=dx)
        xp.expm1(dx, out=dx)
        xp.negative(dx, out=dx)
        xp.multiply(dx, dy, out=dx)


@activations.register("silu")
@dataclass(frozen=True)
class SiLU(Activation):
    """f(x) = x σ(x), also called swish; f′ = σ + y (1 − σ). Minimum −0.278 at x = −1.278."""

    scratch: ClassVar = 1
    bounds = (-0.2784645427610738, None)

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        (gate,) = scratch
        sigmoid(backend.xp, x, gate)
        backend.xp.multiply(x, gate, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp, (gate,) = backend.xp, scratch
        xp.subtract(1, gate, out=dx)
        xp.multiply(dx, y, out=dx)
        xp.add(dx, gate, out=dx)
        xp.multiply(dx, dy, out=dx)


GELU_FORMS: Final = ("none", "tanh")
CUBIC: Final = 0.044715  # of the tanh form: Φ(x) ≈ ½ (1 + tanh √(2/π)(x + 0.044715 x³))
FLAT: Final = 40.0  # beyond it Φ is 0 or 1 in float64 too, and in float32 x³ does not overflow


@activations.register("gelu")
@dataclass(frozen=True)
class GELU(Activation):
    """f(x) = x Φ(x), Φ the normal distribution (Hendrycks and Gimpel, 2016); f′ = Φ + x Φ′.

    Exact, or with `approximate = "tanh"` by the authors' approximation. The minimum, −0.170, is
    at x = −0.75.
    """

    scratch: ClassVar = 5
    bounds = (-0.1700408, None)  # of the tanh form; the exact one ends at −0.1699712

    approximate: Literal["none", "tanh"] = "none"  # exact, or the approximation with tanh

    def __post_init__(self) -> None:
        if self.approximate not in GELU_FORMS:
            raise UnknownNameError("form of gelu", self.approximate, GELU_FORMS, "approximate")

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        xp, (phi, inner, *_) = backend.xp, scratch
        if self.approximate == "none":
            xp.multiply(x, math.sqrt(0.5), out=phi)
            erf(xp, phi, phi, [y, *scratch[1:ERF_SCRATCH]])
        else:
            xp.clip(x, -FLAT, FLAT, out=inner)
            xp.multiply(inner, inner, out=phi)
            xp.multiply(phi, CUBIC, out=phi)
            xp.add(phi, 1, out=phi)
            xp.multiply(phi, inner, out=phi)
            xp.multiply(phi, math.sqrt(2 / math.pi), out=phi)
            xp.tanh(phi, out=phi)
        xp.multiply(phi, 0.5, out=phi)
        xp.add(phi, 0.5, out=phi)
        xp.multiply(x, phi, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp, (phi, inner, factor, *_) = backend.xp, scratch
        xp.clip(x, -FLAT, FLAT, out=inner)
        xp.multiply(inner, inner, out=factor)
        if self.approximate == "none":
            xp.multiply(factor, -0.5, out=factor)
            xp.exp(factor, out=factor)
            xp.multiply(factor, math.sqrt(0.5 / math.pi), out=factor)
        else:  # Φ′ = 2 Φ (1 − Φ) √(2/π) (1 + 3 · 0.044715 x²)
            xp.multiply(factor, 3 * CUBIC, out=factor)
            xp.add(factor, 1, out=factor)
            xp.multiply(factor, 2 * math.sqrt(2 / math.pi), out=factor)
            xp.multiply(factor, phi, out=factor)
            xp.subtract(1, phi, out=dx)
            xp.multiply(factor, dx, out=factor)
        xp.multiply(factor, inner, out=dx)
        xp.add(dx, phi, out=dx)
        xp.multiply(dx, dy, out=dx)
