"""The layer table: a row per layer, from the first to the output, on common axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.text import Text
from textual import events
from textual.message import Message

from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.pooling import pooled
from tuilab.charts.strips import STYLES, Strip
from tuilab.charts.text import Line, Span, crop, pad, width
from tuilab.viewer.action import Action
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels.base import WAITING, PanelContext, PanelSpec, ScrolledPanel, Styles
from tuilab.viewer.panels.layer_columns import COLUMNS, Column, choose, lines_over_depth
from tuilab.viewer.panels.layer_columns import cells as column_cells
from tuilab.viewer.panels.layer_names import RowNames, numbered, row_names

TITLE: Final = "Layers"
HINTS: Final = "enter: unfold, open   z: fold level   /: filter"
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
    table: Table,
    cells: int,
    rows: int = 1,
    view: StripView = StripView(),
    names: RowNames | None = None,
) -> list[Line]:
    """Return the table: two header lines, then `rows` lines per row of `names`.

    Without `names`, there is a row per layer.
    """
    names = names or numbered(table)
    widths = choose(table, cells, names.width)
    columns = [c for c in COLUMNS if c.key in widths]
    members = names.members
    body: list[list[Line]] = [[] for _ in range(len(members) * rows)]
    _append(body, names.lines, rows)
    size = names.width
    top: list[Line] = [[(f"{'at step':<{size}}"[:size], "muted")]]
    below: list[Line] = [[(f"{formats.count(table.snapshot.step):<{size}}", "bold")]]
    for group, inside in _grouped(columns):
        _append(body, [[(" │ ", "faint")]] * len(members), rows, every=True)
        top.append([(" │ ", "faint")])
        below.append([(" │ ", "faint")])
        total = sum(widths[c.key] for c in inside) + len(inside) - 1
        top.append(pad(_group_title(group, inside, view), total))
        for number, column in enumerate(inside):
            gap = " " if number else ""
            size = widths[column.key]
            if column.weight:
                strips, axis = _strips(table, column.key, members, size, rows, view)
                below.append([(gap, ""), *axis_line(axis, size)])
                for at, line in enumerate(strips):
                    body[at].append([(gap, ""), line])
                continue
            if column.line:
                below.append([(f"{gap}{column.title:<{size}}", "muted")])
                drawn = lines_over_depth(column, table, members, size)
                tint = GROUPS[group][1]
                _append(body, [[(f"{gap}{text}", tint)] for text in drawn], rows)
                continue
            below.append([(f"{gap}{column.title:>{size}}", "muted")])
            spans = column_cells(column, table, members)
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
    table: Table,
    key: str,
    rows: Sequence[Sequence[int]],
    cells: int,
    height: int,
    view: StripView,
) -> tuple[list[Span], Axis]:
    """Draw the histogram of each row; over values, an output layer has a separate axis.

    A row of several layers has the mean of their histograms.
    """
    tensor, role = STRIPS[key]
    axis = table.axis(tensor, log=view.log)
    draw = STYLES[view.style]
    spans: list[Span] = []
    for members in rows:
        if not members:
            spans += [(" " * cells, "")] * height
            continue
        histogram = pooled([charts.histogram(table.snapshot, k, tensor) for k in members])
        of_output = all(map(table.is_output, members))
        if of_output and not view.log:
            spans += _output_strip(histogram, role, cells, height, draw)
            continue
        tint = f"{role}.dim" if of_output else role
        tint = "error" if histogram.nonfinite else tint
        spans += [(line, tint) for line in draw(histogram, axis, cells, height)]
    return spans, axis


def _output_strip(
    histogram: Histogram, role: str, cells: int, rows: int, draw: Strip
) -> list[Span]:
    """Draw the output layer on its own axis, which is noted beside the strip."""
    own = charts.common_axis([histogram])
    label = "" if math.isnan(histogram.mean) else f" {own}"
    role = "error" if histogram.nonfinite else f"{role}.dim"
    if histogram.nonfinite or cells < len(label) + 8:
        return [(line, role) for line in draw(histogram, own, cells, rows)]
    lines = draw(histogram, own, cells - len(label), rows)
    labels = [" " * len(label)] * (rows - 1) + [label]
    return [(line + text, role) for line, text in zip(lines, labels, strict=True)]


class Layers(ScrolledPanel):
    """The layer table; it scrolls where there are more rows than room.

    Rows of modules have a cursor, and unfold.
    """

    class RowsChanged(Message):
        """There are more rows, or fewer: panels may need other room."""

    def __init__(self, styles: Styles) -> None:
        super().__init__(styles, id="layers")
        self.border_title = TITLE
        self.offset_layers = 0
        self.row_height = 1
        self.strip_view = StripView()
        self._table: Table | None = None
        self._folding = Folding()

    @property
    def page(self) -> int:
        """How many rows fit."""
        return max((self.content_size.height - HEADER_LINES) // self.row_height, 1)

    def present(self, context: PanelContext) -> None:
        """Show the snapshot that is looked at."""
        self._folding = context.folding
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
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of rows, or move the cursor."""
        if self._folding.selecting:
            self._folding.move(by)
        else:
            self.offset_layers += by
        self._draw()

    def enter(self) -> int | None:
        """Unfold or fold the row under the cursor. Return the layer (from 1) of a single one."""
        position = self._folding.enter()
        if position is None:
            self._rows_changed()
        return None if position is None else position + 1

    def fold(self) -> None:
        """Fold the row under the cursor, or the one that contains it."""
        if self._folding.fold():
            self._rows_changed()

    def next_level(self) -> None:
        """Go to the next fold level."""
        if self._folding.next_level():
            self._rows_changed()
        else:
            self.notify("no layers to fold: they are not in modules", timeout=3)

    def filter(self, pattern: str) -> None:
        """Show only layers whose path matches; "" shows all."""
        self._folding.filter(pattern)
        self._rows_changed()

    def _rows_changed(self) -> None:
        self._draw()
        self.post_message(self.RowsChanged())

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to a row; a double click unfolds it or opens its layer."""
        place = event.get_content_offset(self)
        if place is None or not self._folding.selecting or place.y < HEADER_LINES:
            return
        at = self.offset_layers + (place.y - HEADER_LINES) // self.row_height
        self.scroll_by(at - self._folding.at)

    def _draw(self) -> None:
        table, folding = self._table, self._folding
        if table is None or not self.content_size.width:
            return
        folding.follow(table.layers)
        number = len(folding.rows)
        self.border_title = title(folding, self.strip_view)
        if not number:
            self.border_subtitle = ""
            self.show([[(f"no layer matches {folding.pattern}   esc shows all", "muted")]])
            return
        self._keep_in_sight(number)
        table = replace(table, brief=folding.named, several=folding.several)
        end = self.offset_layers + self.page
        names = row_names(table, folding, self.content_size.width, self.offset_layers, end)
        cells = self.content_size.width
        self.show(table_lines(table, cells, self.row_height, self.strip_view, names))
        last = min(end, number)
        what = "rows" if folding.named else "layers"
        scroll = f"{what} {self.offset_layers + 1}–{last} of {number} ↑↓"
        self.border_subtitle = subtitle(
            table, scroll if number > self.page else "", self.content_size.width - 2
        )

    def _keep_in_sight(self, number: int) -> None:
        """Keep the first row in sight within bounds, and the cursor in sight."""
        if self._folding.selecting:
            at = self._folding.at
            self.offset_layers = min(max(self.offset_layers, at - self.page + 1), at)
        self.offset_layers = min(max(self.offset_layers, 0), max(number - self.page, 0))


def title(folding: Folding, view: StripView) -> Text:
    """Return the title of the table: the modules that contain it, fold level, filter, strips."""
    words = [f"{TITLE} in {folding.tree.prefix}" if folding.tree.prefix else TITLE]
    words += [folding.titles[folding.level], f"/{folding.pattern}" if folding.pattern else ""]
    words.append("" if view == StripView() else str(view))
    return Text("  ".join(filter(None, words)))


def subtitle(table: Table, scroll: str, cells: int) -> str:
    """Return the text of the lower border: scroll position and gains, as far as they fit.

    Tensors that the run does not record have no column; they are named instead.
    """
    recorded = table.snapshot.tensors
    missing = [label for tensor, label in LABELS.items() if tensor not in recorded]
    if missing:
        scroll = f"{scroll}   not recorded: {', '.join(missing)}".strip()
    if table.brief:
        if not table.chain and not table.measures("input"):
            scroll = f"{scroll}   no gain: inputs are not recorded".strip()
        long = f"{scroll}   {HINTS}".strip()
        return next((text for text in (long, scroll) if len(text) <= cells), "")
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
        Action("fold_level", "z", "z", "fold level",
               "layers of a tree of modules: repeated blocks folded, by depth, every layer",
               Layers.next_level, scope="panels"),
        Action("fold", "backspace", "backspace", "fold",
               "fold the row under the cursor, or the one that contains it; enter unfolds it",
               Layers.fold, scope="panels"),
    ),
)  # fmt: skip
