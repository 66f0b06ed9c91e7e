"""Axes of charts: the ends of the y axis, ticks at round numbers, and the axis of steps."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.rounding import apart, settled
from tuilab.charts.text import Line

WITHIN_A_DECADE: Final = (1, 2, 5)
USUAL: Final = (0.02, 0.95)
"""Quantiles of another run between which the y axis has room for it."""
MORE: Final = 1.0
"""How far other runs may stretch the y axis on either side, as a share of its range."""
PADDING: Final = 0.04


def round_step(span: float, number: int) -> float:
    """Return the round step (1, 2 or 5 times a power of ten) for about `number` ticks."""
    raw = span / max(number, 1)
    power = 10.0 ** math.floor(settled(math.log10(raw)))
    return next(m * power for m in (1, 2, 5, 10) if m >= settled(raw / power * 0.7))


def ticks(low: float, high: float, number: int, *, logarithmic: bool) -> list[tuple[float, str]]:
    """Return places and labels of ticks on a y axis; on a logarithmic one, places are powers."""
    if logarithmic and settled(high - low) < 2:
        if between := _between_decades(low, high):
            return between
        linear = ticks(10.0**low, 10.0**high, number, logarithmic=False)
        return [(math.log10(value), text) for value, text in linear]
    step = round_step(high - low, number)
    if logarithmic:
        step = max(1.0, round(step))
    values = [i * step for i in _whole(low / step, high / step)]
    if logarithmic:
        return [(v, f"1e{round(v)}") for v in values]
    if max(abs(low), abs(high)) >= 1e5:
        return [(v, formats.rate(v)) for v in values]
    digits = max(0, -math.floor(settled(math.log10(step))))
    return [(v, f"{v:.{digits}f}") for v in values]


def _between_decades(low: float, high: float) -> list[tuple[float, str]]:
    """Return ticks for an axis that has too few whole powers of ten."""
    low, high = settled(low), settled(high)
    decades = range(math.floor(low), math.ceil(high) + 1)
    places = [(d + math.log10(m), m * 10.0**d) for d in decades for m in WITHIN_A_DECADE]
    return [(at, formats.number(value)) for at, value in places if low <= settled(at) <= high]


def _whole(low: float, high: float) -> range:
    """Return the whole numbers from `low` to `high`."""
    return range(math.ceil(settled(low)), math.floor(settled(high)) + 1)


def step_axis(span: tuple[float, float], gutter: int, columns: int) -> list[Line]:
    """Return the two lines below a chart: the axis of steps, and its labels."""
    low, high = span
    step = max(1.0, round_step(high - low, max(columns // 14, 1)))
    axis, labels = ["─"] * columns, [" "] * (gutter + 1 + columns)
    for i in _whole(low / step, high / step):
        at = round(settled((i * step - low) / (high - low) * (columns - 1)))
        axis[at] = "┬"
        _label(labels, gutter + 1 + at, formats.count(round(i * step)))
    if all(c == " " for c in labels[-6:]):
        labels[-4:] = "step"
    return _lines(axis, labels, gutter)


def decade_axis(span: tuple[float, float], gutter: int, columns: int) -> list[Line]:
    """Return an axis with a tick at every power of ten, and as many labels as fit."""
    axis, labels = ["─"] * columns, [" "] * (gutter + 1 + columns)
    low, high = span
    for power in _whole(low, high):
        at = round(settled((power - low) / (high - low or 1.0) * (columns - 1)))
        axis[at] = "┬"
        _label(labels, gutter + 1 + at, f"1e{power}")
    return _lines(axis, labels, gutter)


def _label(labels: list[str], centre: int, text: str) -> None:
    """Write a label below its tick, unless it would touch another."""
    start = min(max(centre - len(text) // 2, 0), len(labels) - len(text))
    if all(c == " " for c in labels[max(start - 1, 0) : start + len(text)]):
        labels[start : start + len(text)] = text


def _lines(axis: Sequence[str], labels: Sequence[str], gutter: int) -> list[Line]:
    return [
        [(" " * gutter + "└" + "".join(axis), "muted")],
        [("".join(labels), "muted")],
    ]


def robust(
    own: Floats, others: Sequence[Floats], fixed: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Return the ends of a y axis: room for all of `own`, and for `others` within limits.

    A run with a huge loss must not flatten the curve of another. Return `fixed`, if given, as soon
    as any value is finite, and None if none is.
    """
    own = own[np.isfinite(own)]
    others = [finite for other in others if (finite := other[np.isfinite(other)]).size]
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
