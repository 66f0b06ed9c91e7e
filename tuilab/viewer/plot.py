"""Line charts as lines of text: plotext draws the curves, axes and marks are put around them.

Pure, without Textual. plotext takes about 5 ms for a canvas of 50×10, so a chart is drawn only
when its data changed, a few times a second, from series already reduced to the canvas.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.frames import Floats
from tuilab.viewer import formats
from tuilab.viewer.series import Reduced
from tuilab.viewer.text import Line

_SGR: Final = re.compile(r"\x1b\[([0-9;]*)m")
LEAST_WIDTH: Final = 12
LEAST_HEIGHT: Final = 3
_COLOURS: Final = ("red", "green", "orange", "blue", "magenta", "cyan")  # plotext's 1 to 6


@dataclass(frozen=True, slots=True)
class Curve:
    """A series to draw: `role` colours it, `marker` is plotext's or a character; points if set."""

    data: Reduced
    role: str
    marker: str = "braille"
    points: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at `step`: a glyph above the curve, a word if there is room."""

    step: float
    glyph: str
    label: str
    role: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What one chart shows; `limits` fixes the y axis, `reference` is a dashed level.

    x counts steps; with `decades` it is the decimal logarithm of something, a learning rate.
    `cursor` is a step that a vertical line goes through.
    """

    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    limits: tuple[float, float] | None = None
    reference: float = math.nan
    logarithmic: bool = False
    decades: bool = False
    cursor: float = math.nan


def spans_decades(values: Floats, decades: float = 2.0) -> bool:
    """Tell whether positive finite values span more than `decades` powers of ten."""
    usable = values[np.isfinite(values) & (values > 0)]
    return bool(usable.size) and float(usable.max()) > 10**decades * float(usable.min())


def wants_logarithm(values: Floats) -> bool:
    """Tell whether a logarithmic axis is the one for `values`, which it must all have room for."""
    return spans_decades(values) and not bool((values <= 0).any())


def has_room(width: int, height: int) -> bool:
    """Tell whether a chart can be drawn into so many cells: a row, the axis and its labels."""
    return width >= LEAST_WIDTH and height >= LEAST_HEIGHT


def draw(chart: Chart, width: int, height: int) -> list[Line]:
    """Draw a chart into `height` lines of `width` cells; nothing where nothing is finite."""
    heights = [_heights(chart, curve) for curve in chart.curves]
    values = np.concatenate([h[np.isfinite(h)] for h in heights]) if heights else np.empty(0)
    if not values.size or not has_room(width, height):
        return []
    marks = chart.marks if height > LEAST_HEIGHT else ()
    rows = height - 2 - bool(marks)
    low, high = chart.limits or _padded(float(values.min()), float(values.max()))
    ticks = _ticks(low, high, max(rows // 3, 1) + 1, chart.logarithmic)
    labels = {_row(v, low, high, rows): text for v, text in ticks}
    gutter = max(len(text) for text in labels.values()) if labels else 0
    columns = width - gutter - 1
    span = _span(chart)
    canvas = _canvas(chart, span, (low, high), columns, rows)
    if low < chart.reference < high:
        _dash(canvas, _row(chart.reference, low, high, rows))
    if span[0] <= chart.cursor <= span[1]:
        _cross(canvas, round(chart.cursor / span[1] * (columns - 1)))
    lines = [_mark_line(marks, span, gutter + 1, columns)] if marks else []
    for row, cells in enumerate(canvas):
        label = labels.get(row)
        edge = f"{label or '':>{gutter}}{'┤' if label else '│'}"
        lines.append([(edge, "muted"), *_runs(cells)])
    return lines + (_decade_axis if chart.decades else x_axis)(span, gutter, columns)


def _heights(chart: Chart, curve: Curve) -> Floats:
    """Return a curve's values on the y axis; a gap where a logarithmic one has no place."""
    if not chart.logarithmic:
        return curve.data.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(curve.data.mean)


def _span(chart: Chart) -> tuple[float, float]:
    x = np.concatenate([curve.data.x for curve in chart.curves])
    last = float(np.nanmax(x))
    return (float(np.nanmin(x)), last) if chart.decades else (0.0, max(last, 1.0))


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.04 or max(abs(high) * 0.1, 1e-3)
    return low - room, high + room


def _row(value: float, low: float, high: float, rows: int) -> int:
    """Return the text row of a value, as plotext places it with four dots of braille a row."""
    dot = math.floor((value - low) / (high - low) * (4 * rows - 1) + 0.5)
    return rows - 1 - dot // 4


def _step(span: float, number: int) -> float:
    """Return the round step (1, 2 or 5 times a power of ten) that gives about `number` ticks."""
    raw = span / max(number, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.7)


def _ticks(low: float, high: float, number: int, logarithmic: bool) -> list[tuple[float, str]]:
    step = _step(high - low, number)
    if logarithmic:
        step = max(1.0, round(step))
    values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    if logarithmic:
        return [(v, f"1e{round(v)}") for v in values]
    if max(abs(low), abs(high)) >= 1e5:
        return [(v, formats.rate(v)) for v in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(v, f"{v:.{digits}f}") for v in values]


Cell = tuple[str, str]


def _canvas(
    chart: Chart, span: tuple[float, float], limits: tuple[float, float], columns: int, rows: int
) -> list[list[Cell]]:
    import plotext  # 40 ms, so not before the first frame is on screen

    plotext.clf()
    plotext.theme("clear")
    plotext.limit_size(False, False)
    plotext.plotsize(columns, rows)
    plotext.frame(False)
    plotext.xticks([])
    plotext.yticks([])
    plotext.xlim(*span)
    plotext.ylim(*limits)
    for curve, colour in zip(chart.curves, _COLOURS, strict=False):
        y = _heights(chart, curve)
        for stretch in _stretches(y):
            call = plotext.scatter if curve.points or stretch.size == 1 else plotext.plot
            xs, ys = curve.data.x[stretch].tolist(), y[stretch].tolist()
            call(xs, ys, marker=curve.marker, color=colour)
    roles = {str(i + 1): curve.role for i, curve in enumerate(chart.curves)}
    return [_cells(line, roles, columns) for line in plotext.build().split("\n")[:rows]]


def _stretches(values: Floats) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return the indices of values between gaps."""
    at = np.flatnonzero(np.isfinite(values))
    return [s for s in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if s.size]


def _cells(line: str, roles: dict[str, str], columns: int) -> list[Cell]:
    """Turn one line of plotext's text with colours into cells with roles."""
    cells: list[Cell] = []
    role, at = "", 0
    for match in _SGR.finditer(line):
        cells.extend((character, role) for character in line[at : match.start()])
        codes, at = match.group(1).split(";"), match.end()
        role = roles.get(codes[-1], "") if len(codes) == 3 else ""
    cells.extend((character, role) for character in line[at:])
    return (cells + [(" ", "")] * columns)[:columns]


def _dash(canvas: list[list[Cell]], row: int) -> None:
    canvas[row] = [c if c[0] not in " ⠀" else ("╌", "faint") for c in canvas[row]]


def _cross(canvas: list[list[Cell]], column: int) -> None:
    for cells in canvas:
        if cells[column][0] in " ⠀╌":
            cells[column] = ("│", "warning")


def _runs(cells: list[Cell]) -> Line:
    """Merge neighbours of the same role into spans."""
    line: Line = []
    for character, role in cells:
        if line and line[-1][1] == role:
            line[-1] = line[-1][0] + character, role
        else:
            line.append((character, role))
    return line


def _mark_line(marks: Sequence[Mark], span: tuple[float, float], indent: int, columns: int) -> Line:
    """Place marks over their steps; a label is left out where it would meet the next one."""
    cells: list[Cell] = [(" ", "")] * columns
    places = [(round((m.step - span[0]) / (span[1] - span[0]) * (columns - 1)), m) for m in marks]
    free = 0
    for at, mark in places:
        if not 0 <= at < columns:
            continue
        cells[at] = (mark.glyph, mark.role)
        free = max(free, at + 1)
    end = columns
    for at, mark in reversed(places):
        text = f" {mark.label} "
        if mark.label and at + 1 + len(text) <= end:
            for offset, character in enumerate(text[:-1]):
                cells[at + 1 + offset] = (character, mark.role)
        elif mark.label and end == columns and at - len(text) >= 0:
            _before(cells, at, f"{mark.label} ", mark.role)
        end = min(end, at)
    return [(" " * indent, ""), *_runs(cells)]


def _before(cells: list[Cell], at: int, text: str, role: str) -> None:
    """Write a label to the left of the last mark, if nothing stands there."""
    start = at - len(text)
    if all(character == " " for character, _ in cells[start - 1 if start else 0 : at]):
        cells[start:at] = [(character, role) for character in text]


def x_axis(span: tuple[float, float], gutter: int, columns: int) -> list[Line]:
    """Return two lines for below a chart: the axis of steps, and its labels."""
    step = max(1.0, _step(span[1], max(columns // 14, 1)))
    axis, labels = ["─"] * columns, [" "] * (gutter + 1 + columns)
    for i in range(math.floor(span[1] / step) + 1):
        at = round(i * step / span[1] * (columns - 1))
        axis[at] = "┬"
        text = formats.count(round(i * step))
        start = min(max(gutter + 1 + at - len(text) // 2, 0), len(labels) - len(text))
        if all(c == " " for c in labels[max(start - 1, 0) : start + len(text)]):
            labels[start : start + len(text)] = text
    if all(c == " " for c in labels[-6:]):
        labels[-4:] = "step"
    return _axis_lines(axis, labels, gutter)


def _decade_axis(span: tuple[float, float], gutter: int, columns: int) -> list[Line]:
    """Mark every whole power of ten, and name as many as there is room for."""
    axis, labels = ["─"] * columns, [" "] * (gutter + 1 + columns)
    low, high = span
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = round((power - low) / (high - low or 1.0) * (columns - 1))
        axis[at] = "┬"
        text = f"1e{power}"
        start = min(max(gutter + 1 + at - len(text) // 2, 0), len(labels) - len(text))
        if all(c == " " for c in labels[max(start - 1, 0) : start + len(text)]):
            labels[start : start + len(text)] = text
    return _axis_lines(axis, labels, gutter)


def _axis_lines(axis: Sequence[str], labels: Sequence[str], gutter: int) -> list[Line]:
    return [
        [(" " * gutter + "└" + "".join(axis), "muted")],
        [("".join(labels), "muted")],
    ]
