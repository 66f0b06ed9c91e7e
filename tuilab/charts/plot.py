"""Line charts as lines of text: curves on a canvas, with axes, levels and markers.

Knows no Textual. Drawing takes a few milliseconds, so a chart is drawn only when its data changed,
and a cursor that follows the mouse is overlaid on the drawing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import axes
from tuilab.charts.axes import robust
from tuilab.charts.canvas import BRAILLE, Canvas
from tuilab.charts.event_markers import EventMarker, marker_line
from tuilab.charts.rounding import settled
from tuilab.charts.series import Reduced
from tuilab.charts.smoothing import logarithm
from tuilab.charts.symbols import DOWN, NOT_FINITE, UP
from tuilab.charts.text import Line

LEAST_WIDTH: Final = 12
LEAST_HEIGHT: Final = 3
EVERY: Final = 12  # columns between two arrows for a curve outside of the chart
NOTHING: Final = np.empty(0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A series to draw: `role` colours it, `marker` is braille or a character.

    `points` are not joined; a `band` reaches from the minimum to the maximum of each stretch. The
    y axis has room for all of a curve that `leads`, and for usual values of the others.
    """

    data: Reduced
    role: str
    marker: str = BRAILLE
    points: bool = False
    band: bool = False
    leads: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """The content of a chart; `limits` fixes the y axis, `reference` is a dashed level.

    x counts steps; with `decades` it is the decimal logarithm of a learning rate or the like.
    `window` is the visible part of it, None: all. `cursor` is a step with a vertical line,
    `broken` are steps whose value is not finite.
    """

    curves: Sequence[Curve]
    markers: Sequence[EventMarker] = ()
    limits: tuple[float, float] | None = None
    reference: float = math.nan
    reference_visible: bool = False  # the y axis always has room for it
    logarithmic: bool = False
    decades: bool = False
    cursor: float = math.nan
    window: tuple[float, float] | None = None
    broken: Floats = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart as it was drawn, and where its steps are."""

    lines: Sequence[Line] = ()
    span: tuple[float, float] = (0.0, 1.0)
    left: int = 0  # cells before the canvas
    columns: int = 0
    top: int = 0  # lines above it
    rows: int = 0

    def step_at(self, x: int) -> float | None:
        """Return the step at a column, None beside the canvas."""
        share = (x - self.left) / max(self.columns - 1, 1)
        if not self.columns or not 0 <= share <= 1:
            return None
        return self.span[0] + share * (self.span[1] - self.span[0])

    def with_cursor(self, step: float) -> Sequence[Line]:
        """Return the lines with a vertical one at `step`, behind the curves."""
        share = settled((step - self.span[0]) / (self.span[1] - self.span[0]))
        if not (self.rows and 0 <= share <= 1):
            return self.lines
        at = self.left + round(share * (self.columns - 1))
        end = self.top + self.rows
        crossed = [_crossed(line, at) for line in self.lines[self.top : end]]
        return [*self.lines[: self.top], *crossed, *self.lines[end:]]


def spans_decades(values: Floats, decades: float = 2.0) -> bool:
    """Return whether the positive finite values span more than `decades` powers of ten."""
    usable = values[np.isfinite(values) & (values > 0)]
    if not usable.size:
        return False
    return settled(float(usable.max()) / (10**decades * float(usable.min()))) > 1


def wants_logarithm(values: Floats) -> bool:
    """Return whether a logarithmic axis suits `values`: several decades, all positive."""
    return spans_decades(values) and not bool((values <= 0).any())


def has_room(width: int, height: int) -> bool:
    """Return whether a chart fits: at least a row, the axis and its labels."""
    return width >= LEAST_WIDTH and height >= LEAST_HEIGHT


def draw(chart: Chart, width: int, height: int) -> list[Line]:
    """Return a chart as `height` lines of `width` cells, [] if nothing is finite."""
    return [*paint(chart, width, height).lines]


def paint(chart: Chart, width: int, height: int) -> Drawing:
    """Return a chart as `draw` does, with the place of its canvas."""
    span = _span(chart)
    limits = _limits(chart, span)
    if limits is None or not has_room(width, height):
        return Drawing()
    shown = chart.markers if height > LEAST_HEIGHT else ()
    rows = height - 2 - bool(shown)
    ticks = axes.ticks(*limits, max(rows // 3, 1) + 1, logarithmic=chart.logarithmic)
    canvas_rows = Canvas(1, rows)
    labels = {canvas_rows.row(_share(v, limits)): text for v, text in ticks}
    gutter = max((len(text) for text in labels.values()), default=0)
    columns = width - gutter - 1
    canvas = _canvas(chart, span, limits, columns, rows)
    lines = [marker_line(shown, span, gutter + 1, columns)] if shown else []
    for row, cells in enumerate(canvas.lines()):
        label = labels.get(row)
        lines.append([(f"{label or '':>{gutter}}{'┤' if label else '│'}", "muted"), *cells])
    axis = axes.decade_axis if chart.decades else axes.step_axis
    lines += axis(span, gutter, columns)
    return Drawing(lines, span, gutter + 1, columns, len(lines) - rows - 2, rows)


def _scale(chart: Chart) -> Callable[[Floats], Floats]:
    """Return the map from values to heights; a logarithmic axis has gaps unless positive."""
    return logarithm if chart.logarithmic else lambda values: values


def _span(chart: Chart) -> tuple[float, float]:
    if chart.window is not None:
        return chart.window
    x = np.concatenate([NOTHING, *(curve.data.x for curve in chart.curves)])
    if not x.size:
        return 0.0, 1.0
    last = float(np.nanmax(x))
    return (float(np.nanmin(x)), last) if chart.decades else (0.0, max(last, 1.0))


def _limits(chart: Chart, span: tuple[float, float]) -> tuple[float, float] | None:
    """Return both ends of the y axis, None if nothing finite is visible."""
    scale = _scale(chart)
    visible = [(curve.leads, scale(_values(curve, span))) for curve in chart.curves]
    if chart.reference_visible and any(np.isfinite(values).any() for _, values in visible):
        visible.append((True, scale(np.array([chart.reference]))))
    return robust(
        np.concatenate([NOTHING, *(values for leads, values in visible if leads)]),
        [values for leads, values in visible if not leads],
        chart.limits,
    )


def _values(curve: Curve, span: tuple[float, float]) -> Floats:
    inside = (curve.data.x >= span[0]) & (curve.data.x <= span[1])
    if not inside.any():  # between two points: the line between them is visible
        inside[:] = True
    shown = (curve.data.low, curve.data.high) if curve.band else (curve.data.mean,)
    return np.concatenate([values[inside] for values in shown])


def _share(value: float, limits: tuple[float, float]) -> float:
    return settled((value - limits[0]) / (limits[1] - limits[0]))


def _canvas(
    chart: Chart, span: tuple[float, float], limits: tuple[float, float], columns: int, rows: int
) -> Canvas:
    canvas, scale = Canvas(columns, rows), _scale(chart)
    length = span[1] - span[0] or 1.0
    for curve in chart.curves:
        x, y = curve.data.x, curve.data.mean
        if curve.band:
            x = np.repeat(x, 2)
            y = np.stack([curve.data.low, curve.data.high], axis=1).ravel()
        heights = settled((scale(y) - limits[0]) / (limits[1] - limits[0]))
        places = settled((x - span[0]) / length)
        canvas.curve(places, heights, curve.role, curve.marker, joined=not curve.points)
        if not curve.band:
            _arrows(canvas, places, heights, curve.role)
    if limits[0] < chart.reference < limits[1]:
        canvas.dash(canvas.row(_share(chart.reference, limits)))
    if span[0] <= chart.cursor <= span[1]:
        canvas.upright(_column(chart.cursor, span, columns), "│", "warning")
    if chart.broken.size:
        _mark_broken(canvas, chart, span, limits)
    return canvas


def _arrows(canvas: Canvas, places: Floats, heights: Floats, role: str) -> None:
    """Mark where a curve leaves the canvas at the top or the bottom, and again at intervals."""
    inside = (places >= 0) & (places <= 1)
    for row, glyph, beyond in (
        (0, UP.glyph, heights > 1),
        (canvas.rows - 1, DOWN.glyph, heights < 0),
    ):
        columns = np.unique(np.rint(places[inside & beyond] * (canvas.columns - 1)).astype(np.intp))
        if columns.size:
            stretch = np.cumsum(np.diff(columns, prepend=columns[0]) > 2)
            first = columns[np.searchsorted(stretch, stretch)]
            marked = (columns - first) % EVERY == 0
            canvas.put(row, columns[marked], glyph, role)


def _mark_broken(
    canvas: Canvas, chart: Chart, span: tuple[float, float], limits: tuple[float, float]
) -> None:
    """Mark where a loss is not finite, at the height at which the curve broke off."""
    leading = next(curve for curve in chart.curves if curve.leads)
    heights = _scale(chart)(leading.data.mean)
    known = np.flatnonzero(np.isfinite(heights))
    for step in chart.broken[(chart.broken >= span[0]) & (chart.broken <= span[1])].tolist():
        before = known[leading.data.x[known] <= step]
        height = heights[before[-1] if before.size else known[0]] if known.size else limits[0]
        row = canvas.row(min(max(_share(float(height), limits), 0.0), 1.0))
        column = _column(step, span, canvas.columns)
        canvas.put(row, np.array([column]), *NOT_FINITE.span)


def _column(step: float, span: tuple[float, float], columns: int) -> int:
    return round(settled((step - span[0]) / (span[1] - span[0] or 1.0)) * (columns - 1))


def _crossed(line: Line, at: int) -> Line:
    """Return a line with a vertical stroke in one cell, if that is free."""
    crossed: Line = []
    start = 0
    for text, role in line:
        place = at - start
        start += len(text)
        if 0 <= place < len(text) and text[place] in " ╌":
            pieces = [(text[:place], role), ("│", "key"), (text[place + 1 :], role)]
            crossed += [piece for piece in pieces if piece[0]]
        else:
            crossed.append((text, role))
    return crossed
