"""Gradients by centred differences, to hold the analytic ones against (course notes, gradcheck)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def numerical_gradient(f: Callable[[], float], x: npt.NDArray[Any], step: float = 1e-5) -> Values:
    """Return d f/d x by (f(x + h) − f(x − h)) / 2h, one element at a time; x is left as it was.

    `f` reads x (float64, any shape). The error is of the order h² and the rounding noise of the
    order 1e-16 / h.
    """
    gradient = np.empty(x.shape, np.float64)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = f()
        x[index] = kept - step
        below = f()
        x[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(analytic: npt.NDArray[Any], numerical: npt.NDArray[Any]) -> float:
    """Return max |a − n| / max(|a|, |n|) with both maxima over the whole array; 0 where all are 0.

    Relative to the largest element and not to each, for near a zero of the gradient a quotient of
    single elements compares nothing but rounding noise.
    """
    scale = max(float(np.abs(analytic).max()), float(np.abs(numerical).max()))
    return float(np.abs(analytic - numerical).max()) / scale if scale else 0.0
