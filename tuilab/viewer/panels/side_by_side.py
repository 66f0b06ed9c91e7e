"""The layers of several runs side by side: one row a layer, one block a run, on common axes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.statistics.frames import Floats
from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.text import Line, Piece, Span, crop, fit, join, pad
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import ScrolledPanel
from tuilab.viewer.panels.layer_columns import Table, gain_role

View = Literal["both", "activation", "gradient"]
VIEWS: Final[tuple[View, ...]] = ("both", "activation", "gradient")
TITLES: Final = {"activation": "activation", "gradient": "dL/dA"}
TENSORS: Final = {"activation": "activation", "gradient": "activation_grad"}
MOST: Final = 4  # runs
BLOCK: Final = 11  # cells of a run, with its border, at least
STRIP: Final = 6  # cells of a strip at least
HEADER_LINES: Final = 3
BORDER: Final[Span] = (" │ ", "faint")


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as it stands in the table; `role` is the colour of its curve."""

    name: str
    role: str
    table: Table


@dataclass(frozen=True, slots=True)
class Column:
    """What is shown of each layer of a run; `priority` says what goes first."""

    kind: Literal["strip", "std", "gain"]
    hue: str  # activation or gradient
    width: int
    priority: int
    title: str = ""


COLUMNS: Final = (
    Column("strip", "activation", STRIP, 95),
    Column("std", "activation", 7, 100, "std"),
    Column("gain", "activation", 6, 85, "fwd →"),
    Column("strip", "gradient", STRIP, 91),
    Column("std", "gradient", 7, 93, "std"),
    Column("gain", "gradient", 6, 84, "← bwd"),
)


def side_by_side(
    runs: Sequence[Shown], cells: int, rows: int = 1, view: View = "both"
) -> list[Line]:
    """Build the table: three header lines, then `rows` lines for each layer.

    The first layers stand beside each other, and so do the outputs; what a run has not is blank.
    """
    labels = _labels(runs)
    size = len(labels[0])
    shown, room = _fitting(runs, cells)
    columns = _choose(room, view)
    axes = {hue: _axes(shown, hue) for hue in TENSORS}
    blocks = [_block(run, columns, axes, len(labels), rows) for run in shown]
    lines: list[Line] = [[(" " * size, "")] for _ in range(HEADER_LINES)]
    for label in labels:
        lines += [[(" " * size, "")] for _ in range(rows - 1)]
        lines.append([(label, "bold")])
    for block in blocks:
        for line, part in zip(lines, block, strict=True):
            line += [BORDER, *pad(part, room)]
    return [crop(line, cells) for line in lines]


def title(runs: Sequence[Shown], cells: int, view: View) -> str:
    """Return the title of the table: what is shown, for there is not always room for all."""
    shown, room = _fitting(runs, cells)
    hues = dict.fromkeys(column.hue for column in _choose(room, view))
    missing = f", {len(shown)} of {len(runs)} runs" if len(shown) < len(runs) else ""
    return f"Layers side by side: {' and '.join(TITLES[hue] for hue in hues)}{missing}"


def ways(runs: Sequence[Shown], cells: int) -> tuple[View, ...]:
    """Return the views that differ: there is not always room for activation and gradient."""
    room = _fitting(runs, cells)[1]
    hues = {column.hue for column in _choose(room, "both")}
    return VIEWS if len(hues) > 1 else VIEWS[1:]


def _fitting(runs: Sequence[Shown], cells: int) -> tuple[Sequence[Shown], int]:
    """Return the runs that there is room for, and how many cells each has."""
    left = cells - len(_labels(runs)[0])
    number = max(min(len(runs), left // BLOCK), 1)
    return runs[:number], left // number - len(BORDER[0])


def depth(runs: Sequence[Shown]) -> int:
    """Return how many rows the table has: the hidden layers of the deepest run, and the output."""
    return max(run.table.hidden for run in runs) + 1


def _labels(runs: Sequence[Shown]) -> list[str]:
    """Return the names of the rows; without that of the non-linearity where runs differ in it."""
    number = depth(runs)
    digits = len(str(number))
    names = []
    for k in range(number - 1):
        layers = [run.table.layers[k] for run in runs if k < run.table.hidden]
        called = {layer.name.removeprefix(str(layer.index)).strip() for layer in layers}
        names.append(f"{k + 1:>{digits}} {called.pop() if len(called) == 1 else ''}"[:14].rstrip())
    names.append("output")
    longest = max(map(len, names))
    return [name.ljust(longest) for name in names]


def _choose(room: int, view: View) -> dict[Column, int]:
    """Return the columns that fit into a block, with their widths; strips take the spare room."""
    kept = [c for c in COLUMNS if view in ("both", c.hue)]
    while len(kept) > 1 and _needed(kept) > room:
        kept.remove(min(kept, key=lambda c: c.priority))
    strips = sum(c.kind == "strip" for c in kept)
    spare = max(room - _needed(kept), 0) // max(strips, 1)
    return {c: c.width + spare * (c.kind == "strip") for c in kept}


def _needed(columns: Sequence[Column]) -> int:
    groups = len({c.hue for c in columns})
    return sum(c.width + 1 for c in columns) - 1 + (groups - 1)


def _axes(runs: Sequence[Shown], hue: str) -> tuple[Axis, Axis]:
    """Return the axis of the hidden layers of all runs, and that of their outputs."""
    found = [
        [charts.histogram(run.table.snapshot, k, TENSORS[hue]) for k in range(run.table.hidden + 1)]
        for run in runs
    ]
    hidden = [h for of_run in found for h in of_run[:-1]]
    outputs = [of_run[-1] for of_run in found]
    return charts.common_axis(hidden or outputs), charts.common_axis(outputs)


def _block(
    run: Shown,
    columns: dict[Column, int],
    axes: dict[str, tuple[Axis, Axis]],
    number: int,
    rows: int,
) -> list[Line]:
    """Build the header and the layers of one run; layers that it has not stay empty."""
    lines: list[Line] = [[(f"─ {run.name}", f"{run.role}.bold")], _standing(run, columns), []]
    body: list[Line] = [[] for _ in range(number * rows)]
    before: Column | None = None
    for column, cells in columns.items():
        gap = 0 if before is None else 1 if before.hue == column.hue else 2
        before = column
        axis, own = axes[column.hue]
        lines[2] += [(" " * gap, ""), (_heading(column, columns, axis, cells), column.hue)]
        cell_rows = (
            _strips(run.table, column, cells, rows, axis, own)
            if column.kind == "strip"
            else _numbers(run.table, column, cells, rows)
        )
        hidden = run.table.hidden * rows
        blank = [(" " * cells, "")] * ((number - 1) * rows - hidden)
        for line, span in zip(
            body, [*cell_rows[:hidden], *blank, *cell_rows[hidden:]], strict=True
        ):
            line += [(" " * gap, ""), span]
    return [*lines, *body]


def _heading(column: Column, columns: Collection[Column], axis: Axis, cells: int) -> str:
    """Return the title of a column; a gradient's spread is called so where its strip is not."""
    if column.kind == "strip":
        words = (str(axis), TITLES[column.hue], "")  # a number cut off would be another number
        return next(text for text in words if len(text) <= cells).center(cells)
    alone = column.kind == "std" and not any(
        other.kind == "strip" and other.hue == column.hue for other in columns
    )
    named = TITLES[column.hue][:cells] if alone and column.hue == "gradient" else column.title
    return named.rjust(cells)


def _standing(run: Shown, columns: dict[Column, int]) -> Line:
    """Return the step of a run's snapshot and its gains, as far as there is room."""
    snapshot = run.table.snapshot
    pieces = [Piece(9, [("step ", "muted"), (formats.count(snapshot.step), "bold")])]
    gains = (
        ("activation", "→ ", snapshot.gain_forward),
        ("gradient", "← ", snapshot.gain_backward),
    )
    for hue, arrow, gain in gains:
        if any(column.hue == hue for column in columns):
            role = gain_role(gain) if run.table.deep else ""
            pieces.append(Piece(8, [(arrow, "muted"), (formats.factor(gain), role)]))
    room = sum(columns.values()) + len(columns) - 1
    kept = fit(pieces, room)
    return join([piece.line for piece in kept]) if kept else [(str(snapshot.step), "bold")]


def _strips(
    table: Table, column: Column, cells: int, rows: int, axis: Axis, own: Axis
) -> list[Span]:
    """Draw the histograms; those of the output layers have an axis of their own, said beside."""
    number = table.hidden + 1
    found = [charts.histogram(table.snapshot, k, TENSORS[column.hue]) for k in range(number)]
    spans = [
        (line, _tint(h, column.hue)) for h in found[:-1] for line in _strip(h, axis, cells, rows)
    ]
    label = f" {own}"
    if cells < len(label) + 2 * STRIP or found[-1].nonfinite:
        label = ""
    lines = _strip(found[-1], own, cells - len(label), rows)
    ends = [" " * len(label)] * (rows - 1) + [label]
    tint = _tint(found[-1], f"{column.hue}.dim")
    return spans + [(line + end, tint) for line, end in zip(lines, ends, strict=True)]


def _strip(histogram: Histogram, axis: Axis, cells: int, rows: int) -> list[str]:
    return charts.strip(histogram, axis, cells, rows)


def _tint(histogram: Histogram, role: str) -> str:
    return "error" if histogram.nonfinite else role


def _numbers(table: Table, column: Column, cells: int, rows: int) -> list[Span]:
    spans = _stds(table, column) if column.kind == "std" else _gains(table, column)
    blank = (" " * cells, "")
    return [
        span for text, role in spans for span in [*[blank] * (rows - 1), (text.rjust(cells), role)]
    ]


def _stds(table: Table, column: Column) -> list[Span]:
    tensor = TENSORS[column.hue]
    values = table.snapshot.field(tensor, "std").tolist()
    bad = table.snapshot.field(tensor, "nonfinite").tolist()
    return [
        ("✕ NaN", "error") if n else (formats.sci(v), "" if v else "faint")
        for v, n in zip(values, bad, strict=True)
    ]


def _gains(table: Table, column: Column) -> list[Span]:
    forwards = column.hue == "activation"
    gains: Floats = table.gains_forward() if forwards else table.gains_backward()
    return [
        (formats.factor(v), gain_role(v) if table.deep or v != v else "") for v in gains.tolist()
    ]


def compared(store: RunStore, others: Sequence[OtherRun]) -> list[Shown]:
    """Return the runs of the table: the one that is shown, and others nearest to its step."""
    snapshot = store.snapshot
    if snapshot is None:
        return []
    runs = [Shown(store.name, "train", Table.of(snapshot, store.info))]
    for other in others[: MOST - 1]:
        near = other.nearest(snapshot.step)
        if near is not None:
            runs.append(Shown(other.name, other.role, Table.of(near, other.info)))
    return runs


class SideBySide(ScrolledPanel):
    """The table as a widget; scrolls where there are more layers than room."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.border_title = "Layers side by side"
        self.offset_layers = 0
        self._rows = 1
        self._runs: list[Shown] = []
        self._view: View = "both"

    @property
    def room(self) -> int:
        """How many layers fit."""
        return max((self.content_size.height - HEADER_LINES) // self._rows, 1)

    def update(self, store: RunStore, others: Sequence[OtherRun], view: View) -> None:
        """Show the runs as they stood at the step that is looked at, or stand now."""
        self._runs, self._view = compared(store, others), view
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Move by so many layers."""
        self.offset_layers += by
        self._draw()

    def _draw(self) -> None:
        cells, height = self.content_size
        if not cells:
            return
        self.border_subtitle = ""
        if not self._runs:
            self.show([[("waiting for the first statistics …", "muted")]])
            return
        self.border_title = title(self._runs, cells, self._view)
        number = depth(self._runs)
        self._rows = max(1, min(4, (height - HEADER_LINES) // number))
        lines = side_by_side(self._runs, cells, self._rows, self._view)
        self.offset_layers = min(max(self.offset_layers, 0), max(number - self.room, 0))
        start = HEADER_LINES + self.offset_layers * self._rows
        self.show([*lines[:HEADER_LINES], *lines[start : start + self.room * self._rows]])
        last = min(self.offset_layers + self.room, number)
        if number > self.room:
            self.border_subtitle = f"layers {self.offset_layers + 1}–{last} of {number} ↑↓"
