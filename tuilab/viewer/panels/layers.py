"""The layer table: a row per layer, from the first to the output, on common axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.strips import STYLES, Strip
from tuilab.charts.symbols import FROZEN
from tuilab.charts.text import Line, Span, crop, pad, width
from tuilab.viewer.action import Action
from tuilab.viewer.panels.base import WAITING, PanelContext, PanelSpec, ScrolledPanel, Styles
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
"""Columns of strips, with the tensor that each shows and its role."""
LABELS: Final = {"activation": "activation", "activation_grad": "dL/dA", "weight_grad": "dL/dW"}
HEADER_LINES: Final = 2


def names(table: Table) -> list[str]:
    """Return the row names, their indices aligned: ` 1 relu`, `10 relu`, `   output`."""
    digits = len(str(len(table.layers)))
    rows = []
    for layer in table.layers:
        index = layer.index if layer.index <= table.hidden else ""
        row = f"{index:>{digits}} {layer.name.removeprefix(str(layer.index)).strip()}"
        rows.append(f"{row[:12]} {FROZEN.glyph}" if layer.frozen else row[:14])
    longest = max(9, *(len(row) for row in rows))  # a step number has room above
    return [row.ljust(longest) for row in rows]


@dataclass(frozen=True, slots=True)
class StripView:
    """How strips are drawn: one of `strips.STYLES`, over values or over magnitudes."""

    style: str = "bars"
    log: bool = False

    def following(self) -> "StripView":
        """Return the view with the next style; after the last comes the first."""
        names = [*STYLES]
        return replace(self, style=names[(names.index(self.style) + 1) % len(names)])

    def __str__(self) -> str:
        return f"{self.style}{', magnitudes on a logarithmic axis' if self.log else ''}"


def table_lines(
    table: Table, cells: int, rows: int = 1, view: StripView = StripView()
) -> list[Line]:
    """Return the whole table: two header lines, then `rows` lines per layer."""
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
        top.append(pad(_group_title(group, members, view), total))
        for number, column in enumerate(members):
            gap = " " if number else ""
            size = widths[column.key]
            if column.weight:
                strips, axis = _strips(table, column.key, size, rows, view)
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
    """Add a cell to the lowest line of each layer, or to `every` line of it."""
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


def _group_title(group: str, members: Sequence[Column], view: StripView) -> Line:
    title, role = GROUPS[group]
    if view.log and any(column.weight for column in members):
        title = f"|{title}|"
    return [(title, f"{role}.bold" if role else "bold")]


def axis_line(axis: Axis, cells: int) -> Line:
    """Return the ends of an axis, above those of its strip, and its middle if there is room."""
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
    table: Table, key: str, cells: int, rows: int, view: StripView
) -> tuple[list[Span], Axis]:
    """Draw a group's histograms; over values, the output layer has a separate axis."""
    tensor, role = STRIPS[key]
    histograms, axis = table.histograms(tensor, log=view.log)
    draw = STYLES[view.style]
    spans: list[Span] = []
    for histogram in histograms[:-1]:
        tint = "error" if histogram.nonfinite else role
        spans += [(line, tint) for line in draw(histogram, axis, cells, rows)]
    if view.log:
        tint = "error" if histograms[-1].nonfinite else f"{role}.dim"
        return spans + [(line, tint) for line in draw(histograms[-1], axis, cells, rows)], axis
    return spans + _output_strip(histograms[-1], role, cells, rows, draw), axis


def _output_strip(
    histogram: Histogram, role: str, cells: int, rows: int, draw: Strip
) -> list[Span]:
    """Draw the output layer on its own axis, which is noted beside the strip."""
    own = charts.common_axis([histogram])
    label = f" {own}"
    role = "error" if histogram.nonfinite else f"{role}.dim"
    if histogram.nonfinite or cells < len(label) + 8:
        return [(line, role) for line in draw(histogram, own, cells, rows)]
    lines = draw(histogram, own, cells - len(label), rows)
    labels = [" " * len(label)] * (rows - 1) + [label]
    return [(line + text, role) for line, text in zip(lines, labels, strict=True)]


class Layers(ScrolledPanel):
    """The layer table; it scrolls where there are more layers than room."""

    def __init__(self, styles: Styles) -> None:
        super().__init__(styles, id="layers")
        self.border_title = "Layers"
        self.offset_layers = 0
        self.row_height = 1
        self.strip_view = StripView()
        self._table: Table | None = None

    @property
    def page(self) -> int:
        """How many layers fit."""
        return max((self.content_size.height - HEADER_LINES) // self.row_height, 1)

    def present(self, context: PanelContext) -> None:
        """Show the snapshot that is looked at."""
        self.draw_by(lambda: self._update(context))

    def _update(self, context: PanelContext) -> None:
        self.row_height = context.row_height
        self._table = Table.of_store(context.store)
        if self._table is None:
            self.border_subtitle = ""
            self.show([[(WAITING if context.store.live else "no statistics", "muted")]])
            return
        self._draw()

    def next_style(self) -> None:
        """Draw the strips in the next style."""
        self._change(self.strip_view.following())

    def toggle_log(self) -> None:
        """Draw the strips over magnitudes, or over values again."""
        self._change(replace(self.strip_view, log=not self.strip_view.log))

    def _change(self, view: StripView) -> None:
        self.strip_view = view
        self.border_title = "Layers" if view == StripView() else f"Layers  {view}"
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of layers."""
        self.offset_layers += by
        self._draw()

    def _draw(self) -> None:
        table = self._table
        if table is None or not self.content_size.width:
            return
        lines = table_lines(table, self.content_size.width, self.row_height, self.strip_view)
        number = len(table.layers)
        self.offset_layers = min(max(self.offset_layers, 0), max(number - self.page, 0))
        start = HEADER_LINES + self.offset_layers * self.row_height
        end = start + self.page * self.row_height
        self.show([*lines[:HEADER_LINES], *lines[start:end]])
        last = min(self.offset_layers + self.page, number)
        scroll = f"layers {self.offset_layers + 1}–{last} of {number} ↑↓"
        self.border_subtitle = subtitle(
            table, scroll if number > self.page else "", self.content_size.width - 2
        )


def subtitle(table: Table, scroll: str, cells: int) -> str:
    """Return the text of the lower border: scroll position and gains, as far as they fit.

    Tensors that the run does not record have no column; they are named instead.
    """
    recorded = table.snapshot.tensors
    missing = [label for tensor, label in LABELS.items() if tensor not in recorded]
    if missing:
        scroll = f"{scroll}   not recorded: {', '.join(missing)}".strip()
    forward = formats.factor(table.snapshot.gain_forward)
    backward = formats.factor(table.snapshot.gain_backward)
    low, high = table.thresholds.healthy_gain
    bounds = f"  healthy {low:g}…{high:g}" if table.deep else ""
    long = f"gain per layer: forward {forward}  backward {backward}{bounds}"
    short = f"gain → {forward} ← {backward}"
    for gains in (long, short, ""):
        text = f"{scroll}   {gains}".strip()
        if len(text) <= cells:
            return text
    return ""


PANEL: Final = PanelSpec(
    name="layers",
    order=40,
    slot="lower",
    key="2",
    help="layers alone (again: everything)",
    widget=Layers,
    stale_on=frozenset(("state", "info", "snapshot")),
    in_use=lambda context: context.compared is None,
    actions=(
        Action("strips", "h", "h", "strips", "layer strips as bars, heat, or percentile bands",
               Layers.next_style, priority=33, scope="panels"),
        Action("log", "H,upper_h", "H", "log axis", "layer strips over magnitudes, logarithmically",
               Layers.toggle_log, scope="panels"),
    ),
)  # fmt: skip
