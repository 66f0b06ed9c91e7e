"""The ends of a y axis, such that one run with a huge loss does not press the others flat."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts.rounding import apart

USUAL: Final = (0.02, 0.95)
"""Quantiles of another run that have room on the axis."""
MORE: Final = 1.0
"""How far others may stretch it beyond what is shown, on either side, as a share of its range."""
PADDING: Final = 0.04


def robust(
    own: Floats, others: Sequence[Floats], fixed: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Return low and high: all of `own`, and as much of the others as does no harm.

    None where nothing is finite; `fixed` ends stand where anything is.
    """
    own = own[np.isfinite(own)]
    others = [found for other in others if (found := other[np.isfinite(other)]).size]
    if not own.size and not others:
        return None
    if fixed is not None:
        return fixed
    if not own.size:
        own, others = np.concatenate(others), []
    low, high = float(own.min()), float(own.max())
    room = MORE * _length(low, high)
    usual = np.array([np.quantile(other, USUAL) for other in others]).reshape(-1, 2)
    lowest = float(np.clip(usual[:, 0].min(initial=low), low - room, low))
    highest = float(np.clip(usual[:, 1].max(initial=high), high, high + room))
    return _padded(lowest, highest)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (PADDING if apart(low, high) else 1.0) * _length(low, high)
    return low - room, high + room


def _length(low: float, high: float) -> float:
    """Return the length of a range; of a single value's, a tenth of it."""
    return high - low if apart(low, high) else max(abs(high) * 0.1, 1e-3)
