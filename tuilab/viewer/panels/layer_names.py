"""The names of the rows of the layer table: numbers, or paths with their place in the tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.statistics.frames import LayerInfo
from tuilab.charts.symbols import FROZEN
from tuilab.charts.text import Line
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.layer_tree import Node, Row

SHARE: Final = 4  # paths take at most one part in so many of the cells …
LEAST: Final = 18  # … but may have as many cells as this
KINDS: Final = 100  # cells from which rows name the kind of the layer too
KIND: Final = 11  # cells of it


@dataclass(frozen=True, slots=True)
class RowNames:
    """The rows in sight: what they are called, and the positions of their layers from 0."""

    lines: list[Line]
    width: int
    members: list[tuple[int, ...]]


def names(table: Table) -> list[str]:
    """Return the names of numbered layers, indices aligned: ` 1 relu`, `10 relu`, `   output`."""
    digits = len(str(len(table.layers)))
    rows = []
    for layer in table.layers:
        index = layer.index if layer.index <= table.hidden else ""
        row = f"{index:>{digits}} {layer.name.removeprefix(str(layer.index)).strip()}"
        rows.append(f"{row[:12]} {FROZEN.glyph}" if layer.frozen else row[:14])
    longest = max(9, *(len(row) for row in rows))  # a step number has room above
    return [row.ljust(longest) for row in rows]


def paths(layers: Sequence[LayerInfo], cells: int) -> list[str]:
    """Return the paths of layers in equally many cells; of long ones, only the end."""
    size = min(max((len(layer.location) for layer in layers), default=1), max(cells, LEAST))
    return [_shortened(layer.location, size).ljust(size) for layer in layers]


def numbered(table: Table, positions: Sequence[int] | None = None) -> RowNames:
    """Return a row per layer, or only those at `positions`, by number."""
    labels = names(table)
    shown = range(len(labels)) if positions is None else positions
    lines: list[Line] = [[(labels[at], _role(table, (at,)))] for at in shown]
    return RowNames(lines, len(labels[0]), [(at,) for at in shown])


def row_names(
    table: Table, folding: Folding, cells: int, start: int, end: int, *, cursor: bool = True
) -> RowNames:
    """Return the rows from `start` to `end`, in a table of `cells`."""
    rows = folding.rows[start:end]
    if not folding.named:
        return numbered(table, [row.node.members[0] for row in rows])
    marked = any(row.node.children for row in folding.rows)
    most = max(cells // SHARE, LEAST)
    longest = max(_indent(row, marked) + len(row.node.label) for row in folding.rows)
    size = max(min(longest, most), 9)
    kinds = cells >= KINDS
    lines = []
    for at, row in enumerate(rows, start=start):
        text = _label(row, marked, size, frozen=_frozen(table, row.node))
        selected = cursor and folding.selecting and at == folding.at
        role = "activation.tag" if selected else _role(table, row.node.members)
        if row.is_heading and not selected:
            role = "muted.bold"
        line: Line = [(text, role)]
        if kinds:
            line.append((f" {_kind(table, row)[:KIND]:<{KIND}}", "muted"))
        lines.append(line)
    members = [() if row.is_heading else row.node.members for row in rows]
    return RowNames(lines, size + (KIND + 1) * kinds, members)


def _indent(row: Row, marked: bool) -> int:
    return 2 * (row.indent + marked)


def _label(row: Row, marked: bool, cells: int, *, frozen: bool) -> str:
    """Return the path with its mark, `+` to unfold and `−` to fold, in `cells`.

    The end of a long path says more than its beginning.
    """
    mark = ("− " if row.unfolded else "+ " if row.node.children else "  ") if marked else ""
    text = f"{row.node.label} {FROZEN.glyph}" if frozen else row.node.label
    room = cells - _indent(row, marked)
    return f"{'  ' * row.indent}{mark}{_shortened(text, room)}".ljust(cells)


def _shortened(path: str, cells: int) -> str:
    return path if len(path) <= cells else f"…{path[len(path) - cells + 1 :]}"


def _frozen(table: Table, node: Node) -> bool:
    return all(table.layers[at].frozen for at in node.members)


def _role(table: Table, members: Sequence[int]) -> str:
    return "error" if any(table.layers[at].index == table.broken for at in members) else "bold"


def _kind(table: Table, row: Row) -> str:
    """Return the kind of a row's layers, with the non-linearity in its place if there is one."""
    node = row.node
    if node.blocks:
        return f"{node.blocks} blocks"
    layers = [table.layers[at] for at in node.members]
    kinds = {_name(layer.kind, layer.activation) for layer in layers}
    return kinds.pop() if len(kinds) == 1 else f"{len(layers)} layers"


def _name(kind: str, activation: str) -> str:
    return kind if activation in ("", "identity") else activation
