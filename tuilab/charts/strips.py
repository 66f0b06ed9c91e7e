"""Styles of the strip of a layer's values: bars, heat, percentile bands.

A function per style, from a histogram to lines of text; `STYLES` has them in the order of the key.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tuilab.charts.distributions import (
    Axis,
    Histogram,
    is_empty,
    is_spike,
    nothing,
    rebin,
    shades,
    strip,
)
from tuilab.charts.rounding import settled
from tuilab.charts.symbols import NOT_FINITE

Strip = Callable[[Histogram, Axis, int, int], list[str]]
PERCENTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
SMALL: Final = 0.1  # share of a layer's magnitudes that may lie below a logarithmic axis
LARGE: Final = 0.999  # share of them below its upper end


def heat(h: Histogram, axis: Axis, columns: int, rows: int = 1) -> list[str]:
    """Draw counts as shades, the same on every row: the layers form one image."""
    if is_empty(h):
        return nothing(h, columns, rows)
    if is_spike(h):
        at = axis.column(h.mean, columns)
        line = " " * at + "█" + " " * (columns - at - 1)
    else:
        line = "".join(shades(rebin(h, axis, columns)))
        if axis.log:  # a few very small values
            line = line.replace("·", " ")
    return [line] * (rows - 1) + [line[:-1] + NOT_FINITE.glyph if h.nonfinite else line]


def bands(h: Histogram, axis: Axis, columns: int, rows: int = 1) -> list[str]:
    """Draw the percentiles 5, 25, 50, 75 and 95: ╶──▒▒█▒▒▒──╴, the middle half as a box."""
    if is_empty(h):
        return nothing(h, columns, rows)
    values = [h.mean] * len(PERCENTILES)
    if not is_spike(h):
        values = h.quantiles(PERCENTILES, magnitude=axis.log).tolist()
    first, low, middle, high, last = (axis.column(value, columns) for value in values)
    box = [" "] * columns
    box[low : high + 1] = "▒" * (high + 1 - low)
    box[middle] = "█"
    whiskers = box.copy()
    if first < low:
        whiskers[first:low] = "╶" + "─" * (low - first - 1)
    if last > high:
        whiskers[high + 1 : last + 1] = "─" * (last - high - 1) + "╴"
    lines = ["".join(box)] * max(rows - 1, 1)
    lines[len(lines) // 2] = "".join(whiskers)
    if h.nonfinite:
        lines[-1] = lines[-1][:-1] + NOT_FINITE.glyph
    return [" " * columns] * (rows - len(lines)) + lines  # a gap between boxes


STYLES: Final[Mapping[str, Strip]] = {"bars": strip, "heat": heat, "percentiles": bands}


def log_axis(histograms: Sequence[Histogram]) -> Axis:
    """Return the axis of decades that contains nearly all non-zero magnitudes of all layers."""
    ends: list[float] = []
    for h in histograms:
        if is_empty(h):
            continue
        if is_spike(h):
            ends.append(abs(h.mean))
        else:
            ends += h.quantiles((SMALL, LARGE), magnitude=True).tolist()
    ends = [value for value in ends if 1e-300 < value < 1e300]
    if not ends:
        return Axis(1e-3, 1.0, log=True)
    low, high = (settled(math.log10(value)) for value in (min(ends), max(ends)))
    return Axis(
        10.0 ** math.floor(low), 10.0 ** max(math.ceil(high), math.floor(low) + 1), log=True
    )
