"""The charts of a search: objective over a parameter, parallel axes, importance.

Knows no Textual; the canvas is that of the line charts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tuilab.charts import formats
from tuilab.charts.plot import Chart, Curve, draw, has_room, wants_logarithm
from tuilab.charts.rounding import settled
from tuilab.charts.series import Reduced
from tuilab.charts.symbols import BEST, CHOSEN
from tuilab.charts.text import Line, crop, pad
from tuilab.scenario.search.space import Choice, Parameter, Range
from tuilab.search.results import Row, StageResult, headings, value_text

LINES: Final = 40  # trials of each kind on the parallel axes; more would merge into an area
BAR: Final = "━"


def position(parameter: Parameter, value: Any) -> float:
    """Return the position of a value on the axis of its parameter, from 0 to 1."""
    if isinstance(parameter, Range):
        return parameter.position(value)
    count = len(parameter.values)
    place = parameter.values.index(value) if value in parameter.values else 0
    return place / (count - 1) if count > 1 else 0.5


def scatter(
    stage: StageResult, key: str, chosen: Row | None, size: tuple[int, int], *,
    maximize: bool, warned: bool,
) -> list[Line]:  # fmt: skip
    """Draw the objective over a parameter; the axis ends at the edges of its range."""
    width, height = size
    if not has_room(width, height):
        return []
    parameter = stage.space[key]
    ranked = stage.ranked(maximize=maximize)
    good = {row.number for row in ranked[: stage.stage.best]}
    pruned = [row for row in stage.rows if row.state == "pruned" and row.reports]
    groups: list[tuple[list[Row], str, str]] = [
        (pruned, "faint", "×"),  # with their last value
        ([row for row in ranked if row.number not in good], "muted", "·"),
        ([row for row in ranked[1:] if row.number in good], "success", "•"),
        (ranked[:1], f"{BEST.role}.bold", BEST.glyph),
        ([row for row in ranked if chosen is not None and row.number == chosen.number],
         *CHOSEN.span[::-1]),
    ]  # fmt: skip
    ends = np.array([0.0, 1.0])
    curves = [Curve(Reduced.of(ends, np.full(2, np.nan)), "", "·", points=True)]
    for rows, role, marker in groups:
        if rows:
            x = np.array([position(parameter, row.point[key]) for row in rows])
            y = np.array([_height(row) for row in rows])
            order = np.argsort(x)
            curves.append(Curve(Reduced.of(x[order], y[order]), role, marker, points=True))
    values = np.array([_height(row) for row in [*pruned, *ranked]])
    lines = draw(
        Chart(curves, decades=True, logarithmic=bool(values.size) and wants_logarithm(values)),
        width,
        height,
    )
    if not lines:
        return []
    gutter = len(lines[0][0][0]) - 1
    return [*lines[:-2], *_edges(parameter, gutter, width - gutter - 1, warned=warned)]


def _height(row: Row) -> float:
    """Return the objective of a trial, or its last reported value."""
    if row.value is not None:
        return row.value
    return row.reports[max(row.reports)] if row.reports else math.nan


def _edges(parameter: Parameter, gutter: int, columns: int, *, warned: bool) -> list[Line]:
    """Return the axis of a parameter: its range from edge to edge, with ticks."""
    role = "warning" if warned else "muted"
    axis, labels = ["─"] * columns, [" "] * columns
    for place, text in _ticks(parameter, columns):
        at = round(settled(place) * (columns - 1))
        axis[at] = "┬"
        start = min(max(at - len(text) // 2, 0), max(columns - len(text), 0))
        if all(c == " " for c in labels[max(start - 1, 0) : start + len(text) + 1]):
            labels[start : start + len(text)] = text[: columns - start]
    axis[0], axis[-1] = "┣", "┫"
    line = "".join(axis)
    return [
        [(" " * gutter, ""), (line[0], f"{role}"), (line[1:-1], "muted"), (line[-1], role)],
        [(" " * gutter + "".join(labels), role)],
    ]


def _ticks(parameter: Parameter, columns: int) -> list[tuple[float, str]]:
    """Return places and labels of the ends of an axis, then of further ticks."""
    if isinstance(parameter, Choice):
        return [(position(parameter, v), value_text(v)) for v in parameter.values]
    ticks = [(0.0, f"{parameter.low:g}"), (1.0, f"{parameter.high:g}")]
    if parameter.logarithmic:
        low, high = math.log10(parameter.low), math.log10(parameter.high)
        for power in range(math.floor(settled(low)) + 1, math.ceil(settled(high))):
            place = (power - low) / (high - low or 1.0)
            ticks.append((place, f"1e{power}"))
        return ticks
    inner = [parameter.at(place) for place in np.linspace(0, 1, max(columns // 12, 2) + 1)[1:-1]]
    return [*ticks, *((parameter.position(value), f"{value:.3g}") for value in inner)]


def parallel(
    stage: StageResult, objective: str, chosen: Row | None, size: tuple[int, int], *,
    maximize: bool,
) -> list[Line]:  # fmt: skip
    """Draw trials as lines across axes: one per parameter, and the objective at the right."""
    width, height = size
    ranked = stage.ranked(maximize=maximize)
    names = [*headings(stage.space).values(), objective]
    if not ranked or height < 6 or not has_room(width, height):
        return []
    values = np.array([row.value for row in ranked], dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    good = stage.stage.best
    groups = [
        (ranked[good:][-LINES:], "faint"),
        (ranked[1:good][:LINES], "success.dim"),
        (ranked[:1], "success"),
        ([row for row in ranked if chosen is not None and row.number == chosen.number], "warning"),
    ]
    curves = [
        Curve(_across(stage, rows, low, high), role) for rows, role in groups if rows
    ]  # the later ones are drawn over the others
    lines = draw(Chart(curves, limits=(-0.02, 1.02), decades=True), width, height - 1)
    gutter = len(lines[0][0][0]) - 1
    body = [[(" " * (gutter + 1), ""), *line[1:]] for line in lines[:-2]]
    tops = [_top(parameter) for parameter in stage.space.values()] + [value_text(high)]
    bottoms = [_bottom(parameter) for parameter in stage.space.values()] + [value_text(low)]
    columns = width - gutter - 1
    return [
        _labels(tops, gutter, columns, "muted"),
        *body,
        _labels(bottoms, gutter, columns, "muted"),
        _labels(names, gutter, columns, "bold"),
    ]


def _across(stage: StageResult, rows: Sequence[Row], low: float, high: float) -> Reduced:
    """Return the trials as one line, to and fro, connected along the outer axes.

    One long line costs a tenth of as many short ones.
    """
    xs: list[float] = []
    ys: list[float] = []
    for number, row in enumerate(rows):
        places = [position(p, row.point[key]) for key, p in stage.space.items()]
        places.append(((row.value or 0.0) - low) / (high - low) if high > low else 0.5)
        turn = -1 if number % 2 else 1
        xs += [*range(len(places))][::turn]
        ys += places[::turn]
    return Reduced.of(np.array(xs, dtype=np.float64), np.array(ys))


def _top(parameter: Parameter) -> str:
    last = parameter.high if isinstance(parameter, Range) else parameter.values[-1]
    return f"{last:g}" if isinstance(last, int | float) else value_text(last)


def _bottom(parameter: Parameter) -> str:
    first = parameter.low if isinstance(parameter, Range) else parameter.values[0]
    return f"{first:g}" if isinstance(first, int | float) else value_text(first)


def _labels(texts: Sequence[str], gutter: int, columns: int, role: str) -> Line:
    cells = [" "] * columns
    for at, text in enumerate(texts):
        place = round(at / max(len(texts) - 1, 1) * (columns - 1))
        text = text[: max(columns // len(texts) - 1, 4)]
        start = min(max(place - len(text) // 2, 0), max(columns - len(text), 0))
        cells[start : start + len(text)] = text
    return [(" " * (gutter + 1) + "".join(cells[:columns]), role)]


def importance(shares: Mapping[str, float], cells: int) -> list[Line]:
    """Draw a bar per parameter: how strongly it affects the objective."""
    if not shares:
        return [[("importance: waiting for more trials", "muted")]]
    names = headings([*shares])
    label = min(max(map(len, names.values())), 16)
    room = max(cells - label - 7, 1)
    lines: list[Line] = []
    for key, share in sorted(shares.items(), key=lambda pair: -settled(pair[1])):
        full = round(settled(share * room))
        line: Line = [(f"{names[key][:label]:<{label}} ", ""), (BAR * full, "update")]
        line += [("╌" * (room - full), "faint"), (f" {formats.percent(share):>4}", "")]
        lines.append(pad(crop(line, cells), cells))
    return lines
