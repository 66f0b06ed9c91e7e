"""The layer table: one row a layer, from the first to the output, on common axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.strips import WAYS, Strip
from tuilab.charts.text import Line, Span, crop, pad, width
from tuilab.viewer.model.changes import FROZEN
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import ScrolledPanel
from tuilab.viewer.panels.layer_columns import COLUMNS, Column, Table, choose

GROUPS: Final = {
    "activation": ("activation", "activation"),
    "gradient": ("dL/dA", "gradient"),
    "update": ("dL/dW", "update"),
    "gain": ("gain", ""),
}
STRIPS: Final = {
    "activation": ("activation", "activation"),
    "gradient": ("activation_grad", "gradient"),
    "weight": ("weight_grad", "update"),
}
"""Columns of strips, with the tensor that each shows and its hue."""
HEADER_LINES: Final = 2


def names(table: Table) -> list[str]:
    """Return the row names, their indices aligned: ` 1 relu`, `10 relu`, `   output`."""
    digits = len(str(len(table.layers)))
    rows = []
    for layer in table.layers:
        index = layer.index if layer.index <= table.hidden else ""
        row = f"{index:>{digits}} {layer.name.removeprefix(str(layer.index)).strip()}"
        rows.append(f"{row[:12]} {FROZEN}" if layer.frozen else row[:14])
    longest = max(9, *(len(row) for row in rows))  # a step number has room above
    return [row.ljust(longest) for row in rows]


@dataclass(frozen=True, slots=True)
class StripView:
    """How the strips are drawn: one of `strips.WAYS`, along values or along magnitudes."""

    way: str = "bars"
    log: bool = False

    def following(self) -> "StripView":
        """Return the look with the next way, round and round."""
        ways = [*WAYS]
        return replace(self, way=ways[(ways.index(self.way) + 1) % len(ways)])

    def __str__(self) -> str:
        return f"{self.way}{', magnitudes on a logarithmic axis' if self.log else ''}"


def table_lines(
    table: Table, cells: int, rows: int = 1, look: StripView = StripView()
) -> list[Line]:
    """Build the whole table: two header lines, then `rows` lines for each layer."""
    labels = names(table)
    widths = choose(table, cells, len(labels[0]))
    columns = [c for c in COLUMNS if c.key in widths]
    body: list[list[Line]] = [[] for _ in range(len(labels) * rows)]
    roles = ["error" if layer.index == table.broken else "bold" for layer in table.layers]
    _append(body, [[cell] for cell in zip(labels, roles, strict=True)], rows)
    size = len(labels[0])
    top: list[Line] = [[(f"{'at step':<{size}}"[:size], "muted")]]
    below: list[Line] = [[(f"{formats.count(table.snapshot.step):<{size}}", "bold")]]
    for group, members in _grouped(columns):
        _append(body, [[(" │ ", "faint")]] * len(labels), rows, every=True)
        top.append([(" │ ", "faint")])
        below.append([(" │ ", "faint")])
        total = sum(widths[c.key] for c in members) + len(members) - 1
        top.append(pad(_group_title(group, members, look), total))
        for number, column in enumerate(members):
            gap = " " if number else ""
            size = widths[column.key]
            if column.weight:
                strips, axis = _strips(table, column.key, size, rows, look)
                below.append([(gap, ""), *axis_line(axis, size)])
                for at, line in enumerate(strips):
                    body[at].append([(gap, ""), line])
                continue
            below.append([(f"{gap}{column.title:>{size}}", "muted")])
            spans = column.cells(table) if column.cells else []
            _append(body, [[(f"{gap}{text:>{size}}", role)] for text, role in spans], rows)
    return [_flat(line, cells) for line in [top, below, *body]]


def _append(
    body: list[list[Line]], cells: Sequence[Line], rows: int, *, every: bool = False
) -> None:
    """Add one cell a layer to its lowest line; the lines above stay blank, or have it too."""
    for layer, cell in enumerate(cells):
        blank: Line = [(" " * width(cell), "")]
        for row in range(rows):
            body[layer * rows + row].append(cell if every or row == rows - 1 else blank)


def _flat(parts: list[Line], cells: int) -> Line:
    return crop([span for part in parts for span in part if span[0]], cells)


def _grouped(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    return [
        (group, members)
        for group in GROUPS
        if (members := [c for c in columns if c.group == group])
    ]


def _group_title(group: str, members: Sequence[Column], look: StripView) -> Line:
    title, role = GROUPS[group]
    if look.log and any(column.weight for column in members):
        title = f"|{title}|"
    return [(title, f"{role}.bold" if role else "bold")]


def axis_line(axis: Axis, cells: int) -> Line:
    """Write the ends of the axis over the ends of its strip, and a middle where there is room."""
    low, high, middle = (_short(value, axis) for value in (axis.low, axis.high, axis.middle))
    if len(low) + len(high) + 2 > cells:
        return [(f"{str(axis)[:cells]:^{cells}}", "muted")]
    line = low + " " * (cells - len(low) - len(high)) + high
    if cells > len(low) + len(high) + len(middle) + 8:
        start = (cells - len(middle)) // 2
        line = line[:start] + middle + line[start + len(middle) :]
    return [(line, "muted")]


def _short(value: float, axis: Axis) -> str:
    return formats.short(value).replace(".0e", "e") if axis.log else formats.short(value)


def _strips(
    table: Table, key: str, cells: int, rows: int, look: StripView
) -> tuple[list[Span], Axis]:
    """Draw a group's histograms; along values the output layer has an axis of its own."""
    tensor, role = STRIPS[key]
    histograms, axis = table.histograms(tensor, log=look.log)
    draw = WAYS[look.way]
    spans: list[Span] = []
    for histogram in histograms[:-1]:
        tint = "error" if histogram.nonfinite else role
        spans += [(line, tint) for line in draw(histogram, axis, cells, rows)]
    if look.log:
        tint = "error" if histograms[-1].nonfinite else f"{role}.dim"
        return spans + [(line, tint) for line in draw(histograms[-1], axis, cells, rows)], axis
    return spans + _output_strip(histograms[-1], role, cells, rows, draw), axis


def _output_strip(
    histogram: Histogram, role: str, cells: int, rows: int, draw: Strip
) -> list[Span]:
    """Draw the output layer on its own axis, which is written beside it."""
    own = charts.common_axis([histogram])
    label = f" {own}"
    role = "error" if histogram.nonfinite else f"{role}.dim"
    if histogram.nonfinite or cells < len(label) + 8:
        return [(line, role) for line in draw(histogram, own, cells, rows)]
    lines = draw(histogram, own, cells - len(label), rows)
    labels = [" " * len(label)] * (rows - 1) + [label]
    return [(line + text, role) for line, text in zip(lines, labels, strict=True)]


class Layers(ScrolledPanel):
    """The table as a widget; scrolls where there are more layers than room."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.border_title = "Layers"
        self.offset_layers = 0
        self.row_height = 1
        self.look = StripView()
        self._table: Table | None = None

    @property
    def room(self) -> int:
        """How many layers fit."""
        return max((self.content_size.height - HEADER_LINES) // self.row_height, 1)

    def update(self, store: RunStore, row_height: int) -> None:
        """Show the newest snapshot."""
        self.row_height = row_height
        snapshot = store.snapshot
        at = store.divergence.detail.get("layer", 0) if store.divergence else 0
        broken = at if isinstance(at, int) else 0
        self._table = Table.of(snapshot, store.info, broken) if snapshot else None
        if snapshot is None:
            text = "waiting for the first statistics …" if store.live else "no statistics"
            self.border_subtitle = ""
            self.show([[(text, "muted")]])
            return
        self._draw()

    def change(self, look: StripView) -> None:
        """Draw the strips in another way."""
        self.look = look
        self.border_title = "Layers" if look == StripView() else f"Layers  {look}"
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Move by so many layers."""
        self.offset_layers += by
        self._draw()

    def _draw(self) -> None:
        table = self._table
        if table is None or not self.content_size.width:
            return
        lines = table_lines(table, self.content_size.width, self.row_height, self.look)
        number = len(table.layers)
        self.offset_layers = min(max(self.offset_layers, 0), max(number - self.room, 0))
        start = HEADER_LINES + self.offset_layers * self.row_height
        end = start + self.room * self.row_height
        self.show([*lines[:HEADER_LINES], *lines[start:end]])
        last = min(self.offset_layers + self.room, number)
        scroll = f"layers {self.offset_layers + 1}–{last} of {number} ↑↓"
        self.border_subtitle = subtitle(
            table, scroll if number > self.room else "", self.content_size.width - 2
        )


def subtitle(table: Table, scroll: str, cells: int) -> str:
    """Return what stands in the lower border: both gains, and where one is, as far as it fits."""
    forward = formats.factor(table.snapshot.gain_forward)
    backward = formats.factor(table.snapshot.gain_backward)
    bounds = "  healthy 0.8…1.25" if table.deep else ""
    long = f"gain a layer: forward {forward}  backward {backward}{bounds}"
    short = f"gain → {forward} ← {backward}"
    for gains in (long, short, ""):
        text = f"{scroll}   {gains}".strip()
        if len(text) <= cells:
            return text
    return ""
