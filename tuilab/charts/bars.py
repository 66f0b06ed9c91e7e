"""Values as bars that stand on a level, or hang from it: pure, values to lines."""

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.rounding import apart, settled
from tuilab.charts.text import Line

HALVES = " ▄▀█"  # of a cell, by its filled halves: 1 the lower, 2 the upper


def about(values: Floats, level: float, role: str, cells: int, rows: int) -> list[Line]:
    """Draw values from left to right as bars about a dashed `level`, into `rows` of `cells`.

    Where there are more than columns, evenly chosen ones. Values that are not finite leave a gap.
    """
    usable = values[np.isfinite(values)]
    low = min(float(usable.min(initial=level)), level)
    high = max(float(usable.max(initial=level)), level)
    if not apart(low, high):  # all are where they began
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
    tips, base = settled((high - values) / half), settled((high - level) / half)  # from the top
    cells = np.zeros(len(values), int)
    for bit, middle in ((2, 2 * row + 0.5), (1, 2 * row + 1.5)):
        up = (tips < base) & (tips - 0.5 < middle) & (middle < base)
        down = (base < tips) & (base < middle) & (middle < tips + 0.5)
        cells |= bit * (up | down)
    return "".join(HALVES[cell] for cell in cells.tolist())


def _roles(text: str, role: str) -> Line:
    """Return text with its dashes faint, and all else in `role`."""
    line: Line = []
    for character in text:
        own = "faint" if character == "╌" else role
        if line and line[-1][1] == own:
            line[-1] = (line[-1][0] + character, own)
        else:
            line.append((character, own))
    return line
