"""The table of trials: sorted, the best ones marked, with why others ended early."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tuilab.charts.symbols import DOWN, UP
from tuilab.charts.text import Line, crop, pad, width
from tuilab.search.results import Row, StageResult, value_text

ROLES: Final = {
    "complete": "", "pruned": "muted", "failed": "error", "lost": "muted", "running": "activation",
    "waiting": "faint",
}  # fmt: skip
LEAST: Final = 8  # cells of a parameter's column
MOST: Final = 11


@dataclass(frozen=True, slots=True)
class Order:
    """The column by which the table is sorted; 0 is the rank."""

    column: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table."""

    row: Row
    rank: int | None  # None: it has no value

    @property
    def value(self) -> float | None:
        """The objective at the end, or the last reported value."""
        if self.row.value is not None:
            return self.row.value
        return self.row.reports[max(self.row.reports)] if self.row.reports else None


def columns(stage: StageResult, objective: str) -> list[str]:
    """Return the headings."""
    return ["rank", "trial", objective, *stage.columns.values(), "seconds"]


def entries(stage: StageResult, order: Order, *, maximize: bool) -> list[Entry]:
    """Return the trials in the order of the table; those without a value come last."""
    ranks = {row.number: at for at, row in enumerate(stage.ranked(maximize=maximize), start=1)}
    rows = [Entry(row, ranks.get(row.number)) for row in stage.rows]
    keys = [*stage.space]

    def cell(entry: Entry) -> object:
        row = entry.row
        match order.column:
            case 0:
                return entry.rank
            case 1:
                return row.number
            case 2:
                return entry.value
            case place if place < 3 + len(keys):
                return row.point.get(keys[place - 3])
        return row.seconds

    def key(entry: Entry) -> tuple[float, str, int]:
        value = cell(entry)
        if isinstance(value, int | float):
            return float(value), "", entry.row.number
        return 0.0, str(value), entry.row.number

    given = sorted((e for e in rows if cell(e) is not None), key=key, reverse=order.reverse)
    state = {"running": 0, "waiting": 1}
    rest = [e for e in rows if cell(e) is None]
    rest.sort(key=lambda e: (state.get(e.row.state, 2), e.row.number))
    return [*given, *rest]


def table(
    stage: StageResult,
    shown: Sequence[Entry],
    objective: str,
    order: Order,
    cursor: int,
    size: tuple[int, int],
) -> list[Line]:
    """Return the part of the table around the cursor, in `size` (cells, lines)."""
    cells, height = size
    headings = columns(stage, objective)
    sizes = _sizes(headings, stage, cells)
    sign = (DOWN if order.reverse else UP).glyph
    titles = [f"{h}{sign}" if at == order.column else h for at, h in enumerate(headings)]
    lines: list[Line] = [
        crop([("  ", ""), *((f"{_fit(t, n)} ", "muted.bold") for t, n in
                            zip(titles, sizes, strict=False))], cells)
    ]  # fmt: skip
    room = max(height - 1, 1)
    first = min(max(cursor - room // 2, 0), max(len(shown) - room, 0))
    good = stage.stage.best
    for place, entry in enumerate(shown[first : first + room], start=first):
        lines.append(_line(entry, stage, sizes, place == cursor, good, cells))
    return lines


def _sizes(headings: Sequence[str], stage: StageResult, cells: int) -> list[int]:
    """Return the widths of the columns; the last one is dropped if there is no room."""
    fixed, last = [5, 5, 10], 7
    count = max(len(stage.space), 1)
    room = cells - 2 - sum(fixed) - len(headings)
    size = (room - last) // count
    if size < LEAST:
        last, size = 0, (room + 1) // count
    return [*fixed, *[min(max(size, LEAST), MOST)] * len(stage.space), *([last] * bool(last))]


def _fit(text: str, size: int) -> str:
    return text[:size].rjust(size)


def _line(
    entry: Entry, stage: StageResult, sizes: Sequence[int], at: bool, good: int, cells: int
) -> Line:
    row = entry.row
    seconds = f"{row.seconds:.1f}" if row.seconds is not None else ""
    values = [
        _short(row.point[key], size) if key in row.point else ""
        for key, size in zip(stage.space, sizes[3:], strict=False)
    ]
    texts = [str(entry.rank or ""), str(row.number), _value(entry, sizes[2]), *values, seconds]
    role = ROLES.get(row.state, "")
    if entry.rank == 1:
        role = "success.bold"
    elif entry.rank is not None and entry.rank <= good:
        role = "success"
    if row.reason == "loss not finite":
        role = "error.dim"
    if at:
        role = "key.tag" if entry.rank != 1 else "success.tag"
    line: Line = [(f"{row.mark} ", role)]
    line += [(f"{_fit(text, size)} ", role) for text, size in zip(texts, sizes, strict=False)]
    room = cells - width(line)
    if row.reason and room > 8:
        line.append((f" {row.reason}", role if at else "muted"))
    return pad(crop(line, cells), cells)


def _short(value: object, size: int) -> str:
    text = value_text(value)
    return f"{value:.1e}" if isinstance(value, float) and len(text) > size else text


def _value(entry: Entry, size: int) -> str:
    value = entry.value
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if entry.row.value is not None:
        return _short(value, size)
    return f"({_short(value, size - 2)})"  # its last reported value


def counts(stage: StageResult) -> Mapping[str, int]:
    """Return the number of trials per state, for states with any."""
    states = ("running", "complete", "pruned", "failed", "lost", "waiting")
    numbers = {state: stage.count(state) for state in states}
    return {state: number for state, number in numbers.items() if number}
