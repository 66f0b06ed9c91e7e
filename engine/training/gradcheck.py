"""Checks analytic gradients against centred differences (course notes, gradcheck)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from engine.activations.piecewise import ELU, SELU, LeakyReLU, ReLU
from engine.backends.base import Array
from engine.layers.base import Bound, Layer
from engine.layers.maxout import Maxout
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import MaxPool2d
from engine.layers.prelu import PReLU
from engine.layers.residual import Residual
from engine.training.training_step import TrainingStep

T = TypeVar("T")
Values = npt.NDArray[np.float64]
STEPS: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Step sizes to choose from. Small ones stay on one side of a kink and are not affected by
curvature; large ones rise above the rounding of the loss where the gradient is small."""
FIRST_STEP: Final = 1e-5
AGREES: Final = 1e-7
"""Relative difference up to which the first step size is good enough."""
DROWNED: Final = 1e-2
"""A step size is too small if rounding is this share of the gradient."""
KINKED: Final = ReLU, LeakyReLU, ELU, SELU
"""Activations whose slope can jump at 0."""


def numerical_gradient(
    f: Callable[[], float], x: npt.NDArray[Any], step: float = FIRST_STEP
) -> Values:
    """Return d f/d x by (f(x + h) − f(x − h)) / 2h, one element at a time; x is restored.

    `f` reads x (float64, any shape). The error is of the order h², the rounding noise of the order
    1e-16 / h.
    """
    gradient = np.empty(x.shape, np.float64)
    for index in np.ndindex(x.shape):
        gradient[index] = _slope(f, x, index, step)
    return gradient


def _slope(
    f: Callable[[], float], x: npt.NDArray[Any], index: tuple[int, ...], step: float
) -> float:
    below, above = _around(f, x, index, step)
    return (above - below) / (2 * step)


def _around(
    f: Callable[[], T], x: npt.NDArray[Any], index: tuple[int, ...], step: float
) -> tuple[T, T]:
    """Return f(x − h) and f(x + h); x is restored."""
    value = x[index]
    x[index] = value + step
    above = f()
    x[index] = value - step
    below = f()
    x[index] = value
    return below, above


@dataclass(frozen=True, slots=True)
class _Point:
    """The loss at some parameters, and on which piece of its function each unit is."""

    loss: float
    pieces: Sequence[Array]

    def same_side(self, other: "_Point") -> bool:
        """Return whether no unit is on the other side of a kink there."""
        pairs = zip(self.pieces, other.pieces, strict=True)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@dataclass(frozen=True, slots=True)
class _Difference:
    """A centred difference by one step size."""

    step: float
    slope: float
    bend: float  # |f(x + h) − 2 f(x) + f(x − h)| / h, the difference of the one-sided slopes
    crosses: bool  # whether a unit is on the other side of its kink at x ± h

    @classmethod
    def of(
        cls,
        f: Callable[[], _Point],
        x: npt.NDArray[Any],
        index: tuple[int, ...],
        step: float,
        here: _Point,
    ) -> "_Difference":
        below, above = _around(f, x, index, step)
        slope = (above.loss - below.loss) / (2 * step)
        bend = abs(above.loss - 2 * here.loss + below.loss) / step
        crosses = not (here.same_side(below) and here.same_side(above))
        return cls(step, slope, bend, crosses)

    def uncertainty(self, following: "_Difference", rounding: float) -> float:
        """Return the possible error of the slope; `following` is by the next larger step size.

        Half of the bend bounds the effect of a single kink that is not known to be crossed.
        """
        change = 0.0 if following.crosses else abs(self.slope - following.slope)
        return change + self.bend / 2 + 2 * rounding / self.step  # more than one operation rounds


def _checked_slope(
    f: Callable[[], _Point],
    x: npt.NDArray[Any],
    index: tuple[int, ...],
    analytic: float,
    *,
    here: _Point,
    scale: float,
) -> float | None:
    """Return the slope by the best step size, moved towards `analytic` by its uncertainty.

    None where differences cannot decide: a unit crosses its kink at every usable step size. A step
    of 1e-5 is accepted at once if its slope differs from `analytic` by at most AGREES of `scale`,
    the largest gradient of the array. `here` is f at x.
    """
    first = _Difference.of(f, x, index, FIRST_STEP, here).slope
    if abs(first - analytic) <= AGREES * scale:
        return first
    rounding = float(np.finfo(np.float64).eps) * abs(here.loss)
    steps = [step for step in STEPS if rounding / step < DROWNED * scale]
    steps = steps if len(steps) > 1 else [*STEPS]
    differences = [_Difference.of(f, x, index, step, here) for step in steps]
    finite = [
        (difference, following)
        for difference, following in pairwise(differences)
        if math.isfinite(difference.slope) and math.isfinite(following.slope)
    ]
    if not finite:
        return math.nan
    usable = [
        (difference.uncertainty(following, rounding), difference.slope)
        for difference, following in finite
        if not difference.crosses
    ]
    if not usable:
        return None
    uncertainty, slope = min(usable)
    excess = slope - analytic
    return analytic + math.copysign(max(abs(excess) - uncertainty, 0.0), excess)


def relative_error(analytic: npt.NDArray[Any], numerical: npt.NDArray[Any]) -> float:
    """Return max |a − n| / max(|a|, |n|) with both maxima over the whole array; 0 where all are 0.

    It is relative to the largest element, because near a zero of the gradient the quotient of
    single elements compares only rounding noise.
    """
    scale = max(float(np.abs(analytic).max()), float(np.abs(numerical).max()))
    return float(np.abs(analytic - numerical).max()) / scale if scale else 0.0


@dataclass(frozen=True, slots=True)
class ParameterCheck:
    """The difference between the gradient of one array of parameters and centred differences."""

    layer: int  # position in the network's row of layers, from 1
    kind: str  # "linear"
    name: str  # "weight"
    checked: int  # elements compared
    error: float  # relative to the largest gradient; 0 if no element was compared
    left_out: int = 0  # elements at which differences cannot decide, most of them at kinks


def check_parameters(
    step: TrainingStep, rows: npt.NDArray[np.int64], *, elements: int, seed: int = 0
) -> list[ParameterCheck]:
    """Check the gradients of a training step, bound in float64, at the examples `rows` (batch,).

    Compares `elements` elements of each array, drawn by `seed`, and leaves out those at which
    differences cannot decide: in a network whose activations have collapsed to almost 0, nearly any
    step takes units across the kink of ReLU. Every evaluation draws the same dropout masks, and the
    parameters are restored.
    """
    generator = np.random.default_rng(seed)
    network = step.network
    noise = network.noise.bit_generator
    drawn = noise.state
    step.take(rows, augment=False)

    def loss() -> _Point:
        noise.state = drawn
        value = step.gradients().loss
        return _Point(value, [*_pieces(network.network.layers, network.bound, step.batch_x)])

    here = loss()
    store = network.store
    gradients = [{name: g.copy() for name, g in named.items()} for named in store.gradient_views]
    checks = []
    for position, named in enumerate(store.value_views):
        for name, values in named.items():
            flat = values.reshape(-1)
            chosen = generator.permutation(flat.size)[:elements]
            analytic = gradients[position][name].reshape(-1)[chosen]
            scale = float(np.abs(analytic).max())
            slopes = [
                _checked_slope(loss, flat, (index,), float(value), here=here, scale=scale)
                for index, value in zip(chosen, analytic, strict=True)
            ]
            compared = np.array([slope is not None for slope in slopes])
            numerical = np.where(compared, np.array(slopes, np.float64), analytic)
            kind = network.network.layers[position].kind
            checked = int(np.count_nonzero(compared))
            error = relative_error(analytic, numerical)
            left_out = len(chosen) - checked
            checks.append(ParameterCheck(position + 1, kind, name, checked, error, left_out))
    return checks


def _pieces(layers: Sequence[Layer], bound: Sequence[Bound], x: Array) -> Iterator[Array]:
    """Yield on which piece of its function each unit with a kink is, for an input x."""
    for layer, arrays in zip(layers, bound, strict=True):
        kinked = isinstance(layer, Nonlinearity) and isinstance(layer.activation, KINKED)
        if kinked or isinstance(layer, PReLU):
            yield x > 0
        elif isinstance(layer, Maxout):
            yield x.reshape(len(x), layer.pieces, -1).argmax(axis=1)
        elif isinstance(layer, MaxPool2d):
            yield np.argmax(layer.cells(x, arrays.output.shape[1:]), axis=0)
        elif isinstance(layer, Residual):
            yield from _pieces(layer.layers, arrays.inside, x)
        x = arrays.output
