"""Values as bars above and below a level, and factors as bars on either side of 1."""

import math

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.rounding import apart, settled
from tuilab.charts.symbols import AS_EXPECTED, EXPECTED, MEASURED
from tuilab.charts.text import Line

HALVES = " ▄▀█"  # of a cell, by its filled halves: 1 the lower, 2 the upper


def about(values: Floats, level: float, role: str, cells: int, rows: int) -> list[Line]:
    """Return values from left to right as bars about a dashed `level`, in `rows` of `cells`.

    If there are more values than columns, an even selection is drawn. Values that are not finite
    leave a gap.
    """
    usable = values[np.isfinite(values)]
    low = min(float(usable.min(initial=level)), level)
    high = max(float(usable.max(initial=level)), level)
    if not apart(low, high):  # all values are at the level
        low, high = low - 0.5, high + 0.5
    at_level = min(int(settled((high - level) / (high - low) * rows)), rows - 1)
    labels = {0: high, rows - 1: low, at_level: level}
    texts = {row: formats.number(value) for row, value in labels.items()}
    gutter = max(map(len, texts.values()))
    columns = cells - gutter - 1
    if columns < 1:
        return []
    shown = np.where(np.isfinite(values), values, level)
    shown = shown[np.rint(np.linspace(0, len(values) - 1, columns)).astype(int)]
    lines: list[Line] = []
    for row in range(rows):
        label = texts.get(row, "")
        edge = f"{label:>{gutter}}{'┤' if label else '│'}"
        bars = _row(shown, level, (low, high), row, rows)
        dashed = bars.replace(" ", "╌") if row == at_level else bars
        lines.append([(edge, "muted"), *_roles(dashed, role)])
    return lines


def _row(values: Floats, level: float, ends: tuple[float, float], row: int, rows: int) -> str:
    """Return one row of half blocks: filled where it lies between a value and the level."""
    low, high = ends
    half = (high - low) / rows / 2
    with np.errstate(all="ignore"):  # of numbers at the ends of what floats hold
        tips, base = settled((high - values) / half), settled((high - level) / half)  # from the top
    cells = np.zeros(len(values), int)
    for bit, middle in ((2, 2 * row + 0.5), (1, 2 * row + 1.5)):
        up = (tips < base) & (tips - 0.5 < middle) & (middle < base)
        down = (base < tips) & (base < middle) & (middle < tips + 0.5)
        cells |= bit * (up | down)
    return "".join(HALVES[cell] for cell in cells.tolist())


def _roles(text: str, role: str) -> Line:
    """Return text with faint dashes and all else in `role`."""
    line: Line = []
    for character in text:
        tint = "faint" if character == "╌" else role
        if line and line[-1][1] == tint:
            line[-1] = (line[-1][0] + character, tint)
        else:
            line.append((character, tint))
    return line


def gain_bar(value: float, theory: float, span: float, columns: int) -> str:
    """Draw a factor on a logarithmic scale from 1/`span` to `span`, ×1 in the middle (┊).

    The symbols are those of measured, expected, and both; an arrow points to what lies beyond the
    scale. NaN is left out.
    """
    middle = columns // 2
    cells = list(" " * columns)
    at, expected = (_place(factor, span, middle) for factor in (value, theory))
    if at is not None:
        first, last = sorted((middle, min(max(at, 0), 2 * middle)))
        cells[first : last + 1] = "━" * (last + 1 - first)
    cells[middle] = "┊"
    if expected is not None:
        cells[min(max(expected, 0), 2 * middle)] = EXPECTED.glyph
    if at is not None:
        beyond = "◀" if at < 0 else "▶" if at > 2 * middle else ""
        end = beyond or (AS_EXPECTED if at == expected else MEASURED).glyph
        cells[min(max(at, 0), 2 * middle)] = end
    return "".join(cells)


def gain_range(low: float, high: float, theory: float, span: float, columns: int) -> str:
    """Draw a range of factors as `gain_bar` draws one: from the lowest to the highest."""
    middle = columns // 2
    cells = list(" " * columns)
    cells[middle] = "┊"
    first, last = (_place(factor, span, middle) or 0 for factor in (low, high))
    start, end = (min(max(at, 0), 2 * middle) for at in (first, last))
    cells[start : end + 1] = "━" * (end + 1 - start)
    expected = _place(theory, span, middle)
    if expected is not None:
        cells[min(max(expected, 0), 2 * middle)] = EXPECTED.glyph
    for at, place, arrow in ((first, start, "◀"), (last, end, "▶")):
        beyond = at < 0 or at > 2 * middle
        both = AS_EXPECTED if expected == at else MEASURED
        cells[place] = arrow if beyond else both.glyph
    return "".join(cells)


def _place(factor: float, span: float, middle: int) -> int | None:
    """Return the column of a factor, which may lie beyond the scale; None for NaN."""
    if math.isnan(factor) or factor < 0:
        return None
    if factor == 0 or math.isinf(factor):
        return -1 if factor == 0 else 2 * middle + 1
    share = math.log(factor) / math.log(span)
    return round(settled(middle * min(max(share, -2.0), 2.0))) + middle
