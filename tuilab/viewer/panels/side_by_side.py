"""The layers of several runs side by side: a row per layer, a block per run, on common axes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from engine.statistics.frames import Floats
from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.text import Line, Piece, Span, crop, fit, join, pad
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import (
    WAITING,
    ComparedTensors,
    PanelContext,
    PanelSpec,
    ScrolledPanel,
    Styles,
)
from tuilab.viewer.panels.layer_columns import statistic

CHOICES: Final[tuple[ComparedTensors, ...]] = get_args(ComparedTensors)
TITLES: Final = {"activation": "activation", "gradient": "dL/dA"}
TENSORS: Final = {"activation": "activation", "gradient": "activation_grad"}
MOST: Final = 4  # runs
PERIOD: Final = 0.33  # seconds between two drawings
BLOCK: Final = 11  # cells of a run, with its border, at least
STRIP: Final = 6  # cells of a strip at least
HEADER_LINES: Final = 3
BORDER: Final[Span] = (" │ ", "faint")


@dataclass(frozen=True, slots=True)
class RunLayers:
    """The layers of a run; `role` is the colour of its curve."""

    name: str
    role: str
    table: Table


@dataclass(frozen=True, slots=True)
class Column:
    """What is shown of each layer of a run; the lowest `priority` gives way first."""

    kind: Literal["strip", "std", "gain"]
    role: str  # activation or gradient
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
    runs: Sequence[RunLayers], cells: int, rows: int = 1, tensors: ComparedTensors = "both"
) -> list[Line]:
    """Return the table: three header lines, then `rows` lines per layer.

    First layers are aligned, and so are the outputs; layers that a run does not have are blank.
    """
    labels = _labels(runs)
    size = len(labels[0])
    shown, room = _fitting(runs, cells)
    columns = _choose(room, tensors)
    axes = {role: _axes(shown, role) for role in TENSORS}
    blocks = [_block(run, columns, axes, len(labels), rows) for run in shown]
    lines: list[Line] = [[(" " * size, "")] for _ in range(HEADER_LINES)]
    for label in labels:
        lines += [[(" " * size, "")] for _ in range(rows - 1)]
        lines.append([(label, "bold")])
    for block in blocks:
        for line, part in zip(lines, block, strict=True):
            line += [BORDER, *pad(part, room)]
    return [crop(line, cells) for line in lines]


def title(runs: Sequence[RunLayers], cells: int, tensors: ComparedTensors) -> str:
    """Return the title of the table: which tensors and runs there is room for."""
    shown, room = _fitting(runs, cells)
    roles = dict.fromkeys(column.role for column in _choose(room, tensors))
    missing = f", {len(shown)} of {len(runs)} runs" if len(shown) < len(runs) else ""
    return f"Layers side by side: {' and '.join(TITLES[role] for role in roles)}{missing}"


def choices(runs: Sequence[RunLayers], cells: int) -> tuple[ComparedTensors, ...]:
    """Return the choices that differ: "both" only where there is room for both."""
    room = _fitting(runs, cells)[1]
    roles = {column.role for column in _choose(room, "both")}
    return CHOICES if len(roles) > 1 else CHOICES[1:]


def _fitting(runs: Sequence[RunLayers], cells: int) -> tuple[Sequence[RunLayers], int]:
    """Return the runs that there is room for, and the cells of each block."""
    left = cells - len(_labels(runs)[0])
    number = max(min(len(runs), left // BLOCK), 1)
    return runs[:number], left // number - len(BORDER[0])


def depth(runs: Sequence[RunLayers]) -> int:
    """Return the number of rows: the hidden layers of the deepest run, and the output."""
    return max(run.table.hidden for run in runs) + 1


def _labels(runs: Sequence[RunLayers]) -> list[str]:
    """Return the names of the rows, without the non-linearity where runs differ in it."""
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


def _choose(room: int, tensors: ComparedTensors) -> dict[Column, int]:
    """Return the widths of the columns that fit into a block; strips share the spare room."""
    columns = [c for c in COLUMNS if tensors in ("both", c.role)]
    while len(columns) > 1 and _needed(columns) > room:
        columns.remove(min(columns, key=lambda c: c.priority))
    strips = sum(c.kind == "strip" for c in columns)
    spare = max(room - _needed(columns), 0) // max(strips, 1)
    return {c: c.width + spare * (c.kind == "strip") for c in columns}


def _needed(columns: Sequence[Column]) -> int:
    groups = len({c.role for c in columns})
    return sum(c.width + 1 for c in columns) - 1 + (groups - 1)


def _axes(runs: Sequence[RunLayers], role: str) -> tuple[Axis, Axis]:
    """Return the axis of the hidden layers of all runs, and that of their outputs."""
    histograms = [
        [
            charts.histogram(run.table.snapshot, k, TENSORS[role])
            for k in range(run.table.hidden + 1)
        ]
        for run in runs
    ]
    hidden = [h for of_run in histograms for h in of_run[:-1]]
    outputs = [of_run[-1] for of_run in histograms]
    return charts.common_axis(hidden or outputs), charts.common_axis(outputs)


def _block(
    run: RunLayers,
    columns: dict[Column, int],
    axes: dict[str, tuple[Axis, Axis]],
    number: int,
    rows: int,
) -> list[Line]:
    """Return the header and the layers of one run, blank where it has fewer layers."""
    lines: list[Line] = [[(f"─ {run.name}", f"{run.role}.bold")], _gains_line(run, columns), []]
    body: list[Line] = [[] for _ in range(number * rows)]
    before: Column | None = None
    for column, cells in columns.items():
        gap = 0 if before is None else 1 if before.role == column.role else 2
        before = column
        axis, own = axes[column.role]
        lines[2] += [(" " * gap, ""), (_heading(column, columns, axis, cells), column.role)]
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
    """Return the title of a column; a std without the strip of its gradient is named after it."""
    if column.kind == "strip":
        words = (str(axis), TITLES[column.role], "")  # a number that is cut off would be wrong
        return next(text for text in words if len(text) <= cells).center(cells)
    alone = column.kind == "std" and not any(
        other.kind == "strip" and other.role == column.role for other in columns
    )
    named = TITLES[column.role][:cells] if alone and column.role == "gradient" else column.title
    return named.rjust(cells)


def _gains_line(run: RunLayers, columns: dict[Column, int]) -> Line:
    """Return the step of a run's snapshot and its gains, as far as they fit."""
    snapshot = run.table.snapshot
    pieces = [Piece(9, [("step ", "muted"), (formats.count(snapshot.step), "bold")])]
    gains = (
        ("activation", "→ ", snapshot.gain_forward),
        ("gradient", "← ", snapshot.gain_backward),
    )
    for tensor, arrow, gain in gains:
        if any(column.role == tensor for column in columns):
            role = run.table.gain_role(gain)
            pieces.append(Piece(8, [(arrow, "muted"), (formats.factor(gain), role)]))
    room = sum(columns.values()) + len(columns) - 1
    fitting = fit(pieces, room)
    return join([piece.line for piece in fitting]) if fitting else [(str(snapshot.step), "bold")]


def _strips(
    table: Table, column: Column, cells: int, rows: int, axis: Axis, own: Axis
) -> list[Span]:
    """Draw the histograms; the output layers share a separate axis, which is noted beside them."""
    number = table.hidden + 1
    histograms = [charts.histogram(table.snapshot, k, TENSORS[column.role]) for k in range(number)]
    spans = [
        (line, _tint(h, column.role))
        for h in histograms[:-1]
        for line in _strip(h, axis, cells, rows)
    ]
    label = f" {own}"
    if cells < len(label) + 2 * STRIP or histograms[-1].nonfinite:
        label = ""
    lines = _strip(histograms[-1], own, cells - len(label), rows)
    ends = [" " * len(label)] * (rows - 1) + [label]
    tint = _tint(histograms[-1], f"{column.role}.dim")
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
    tensor = TENSORS[column.role]
    values = table.snapshot.field(tensor, "std").tolist()
    bad = table.snapshot.field(tensor, "nonfinite").tolist()
    return [statistic(v, n) for v, n in zip(values, bad, strict=True)]


def _gains(table: Table, column: Column) -> list[Span]:
    forwards = column.role == "activation"
    gains: Floats = table.gains_forward() if forwards else table.gains_backward()
    return [(formats.factor(v), table.gain_role(v)) for v in gains.tolist()]


def compared(store: RunStore, others: Sequence[OtherRun]) -> list[RunLayers]:
    """Return the runs of the table: the current one, and others at the step nearest to its own."""
    snapshot, table = store.snapshot, Table.of_store(store)
    if snapshot is None or table is None:
        return []
    runs = [RunLayers(store.name, "train", table)]
    for other in others[: MOST - 1]:
        near = other.nearest(snapshot.step)
        if near is not None:
            runs.append(
                RunLayers(
                    other.name, other.role, Table.of(near, other.info, thresholds=other.thresholds)
                )
            )
    return runs


class SideBySide(ScrolledPanel):
    """The table of several runs; it scrolls where there are more layers than room."""

    def __init__(self, styles: Styles) -> None:
        super().__init__(styles, id="side")
        self.border_title = "Layers side by side"
        self.offset_layers = 0
        self._rows = 1
        self._runs: list[RunLayers] = []
        self._tensors: ComparedTensors = "both"

    @property
    def page(self) -> int:
        """How many layers fit."""
        return max((self.content_size.height - HEADER_LINES) // self._rows, 1)

    def present(self, context: PanelContext) -> None:
        """Show the runs at the step that is looked at, or now."""
        self._tensors = context.compared or "both"
        self.draw_by(lambda: self._update(context))

    def _update(self, context: PanelContext) -> None:
        self._runs = compared(context.store, context.others)
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of layers."""
        self.offset_layers += by
        self._draw()

    def _draw(self) -> None:
        cells, height = self.content_size
        if not cells:
            return
        self.border_subtitle = ""
        if not self._runs:
            self.show([[(WAITING, "muted")]])
            return
        self.border_title = title(self._runs, cells, self._tensors)
        number = depth(self._runs)
        self._rows = max(1, min(4, (height - HEADER_LINES) // number))
        lines = side_by_side(self._runs, cells, self._rows, self._tensors)
        self.offset_layers = min(max(self.offset_layers, 0), max(number - self.page, 0))
        start = HEADER_LINES + self.offset_layers * self._rows
        self.show([*lines[:HEADER_LINES], *lines[start : start + self.page * self._rows]])
        last = min(self.offset_layers + self.page, number)
        if number > self.page:
            self.border_subtitle = f"layers {self.offset_layers + 1}–{last} of {number} ↑↓"


PANEL: Final = PanelSpec(
    name="side",
    tab="layers",
    order=50,
    slot="lower",
    widget=SideBySide,
    stale_on=frozenset(("state", "info", "snapshot", "others")),
    period=PERIOD,
    in_use=lambda context: context.compared is not None,
)
