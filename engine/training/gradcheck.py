"""Checks analytic gradients against centred differences (course notes, gradcheck)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.training.training_step import TrainingStep

Values = npt.NDArray[np.float64]
STEPS: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Step sizes to choose from. Small ones stay on one side of a kink and are not affected by
curvature; large ones rise above the rounding of the loss where the gradient is small."""
AGREES: Final = 1e-7
"""Relative difference up to which the first step size is good enough."""
DROWNED: Final = 1e-2
"""A step size is too small if rounding is this share of the gradient."""


def numerical_gradient(f: Callable[[], float], x: npt.NDArray[Any], step: float = 1e-5) -> Values:
    """Return d f/d x by (f(x + h) − f(x − h)) / 2h, one element at a time; x is restored.

    `f` reads x (float64, any shape). The error is of the order h², the rounding noise of the order
    1e-16 / h.
    """
    gradient = np.empty(x.shape, np.float64)
    for index in np.ndindex(x.shape):
        gradient[index] = _slope(f, x, index, step)
    return gradient


def _slope(
    f: Callable[[], float], x: npt.NDArray[Any], index: tuple[int, ...], step: float = 1e-5
) -> float:
    value = x[index]
    x[index] = value + step
    above = f()
    x[index] = value - step
    below = f()
    x[index] = value
    return (above - below) / (2 * step)


def _checked_slope(
    f: Callable[[], float],
    x: npt.NDArray[Any],
    index: tuple[int, ...],
    analytic: float,
    *,
    scale: float,
    rounding: float,
) -> float:
    """Return the slope by the best step size, moved towards `analytic` by its uncertainty.

    The uncertainty of a step size is the difference from the slope by the next one, plus the effect
    of the `rounding` of the loss. A step of 1e-5 is accepted at once if its slope differs from
    `analytic` by at most AGREES of `scale`, the largest gradient of the array.
    """
    first = _slope(f, x, index)
    if abs(first - analytic) <= AGREES * scale:
        return first
    steps = [step for step in STEPS if rounding / step < DROWNED * scale]
    steps = steps if len(steps) > 1 else [*STEPS]
    slopes = [_slope(f, x, index, step) for step in steps]
    uncertain = [
        (abs(slope - other) + rounding / step, slope)
        for step, (slope, other) in zip(steps, pairwise(slopes), strict=False)
        if math.isfinite(slope) and math.isfinite(other)
    ]
    if not uncertain:
        return math.nan
    uncertainty, slope = min(uncertain)
    difference = slope - analytic
    return analytic + math.copysign(max(abs(difference) - uncertainty, 0.0), difference)


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
    error: float  # relative to the largest of them


def check_parameters(
    step: TrainingStep, rows: npt.NDArray[np.int64], *, elements: int, seed: int = 0
) -> list[ParameterCheck]:
    """Check the gradients of a training step, bound in float64, at the examples `rows` (batch,).

    Compares `elements` elements of each array, drawn by `seed`. Every evaluation draws the same
    dropout masks, and the parameters are restored.
    """
    generator = np.random.default_rng(seed)
    noise = step.network.noise.bit_generator
    drawn = noise.state
    step.take(rows, augment=False)

    def loss() -> float:
        noise.state = drawn
        return step.gradients().loss

    rounding = float(np.finfo(np.float64).eps) * abs(loss())
    store = step.network.store
    gradients = [{name: g.copy() for name, g in named.items()} for named in store.gradient_views]
    checks = []
    for position, named in enumerate(store.value_views):
        for name, values in named.items():
            flat = values.reshape(-1)
            chosen = generator.permutation(flat.size)[:elements]
            analytic = gradients[position][name].reshape(-1)[chosen]
            scale = float(np.abs(analytic).max())
            numerical = np.array(
                [
                    _checked_slope(
                        loss, flat, (index,), float(value), scale=scale, rounding=rounding
                    )
                    for index, value in zip(chosen, analytic, strict=True)
                ]
            )
            kind = step.network.network.layers[position].kind
            error = relative_error(analytic, numerical)
            checks.append(ParameterCheck(position + 1, kind, name, len(chosen), error))
    return checks
