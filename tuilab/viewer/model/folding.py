"""Which rows of the layers are shown: fold level, rows unfolded by hand, filter, cursor.

Knows no Textual.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from engine.statistics.frames import LayerInfo
from tuilab.viewer.model.layer_tree import LayerTree, Node, Row, is_numbered, visible


class Folding:
    """The rows in sight of a run's layers; `follow` the layers before anything else is used."""

    def __init__(self) -> None:
        self.level = 0  # of `titles`
        self.pattern = ""  # a glob or a part of the path; "": all layers
        self.rows: Sequence[Row] = ()
        self.tree = LayerTree(())
        self.named = False  # layers are called by their paths, not numbered
        self.titles: Sequence[str] = ("",)  # of the fold levels
        self._levels: Sequence[Sequence[Node]] = ((),)
        self._layers: Sequence[LayerInfo] = ()
        self._toggled: set[str] = set()
        self.at = 0  # the index of the row under the cursor

    @property
    def selecting(self) -> bool:
        """Whether there is a cursor; layers that are numbered have none."""
        return self.named and bool(self.rows)

    @property
    def several(self) -> bool:
        """Whether rows stand for several layers."""
        return any(len(node.members) > 1 for node in self._nodes)

    @property
    def folded(self) -> Sequence[Node]:
        """The rows with repeated blocks folded, whatever level is shown."""
        return self._levels[0]

    @property
    def _nodes(self) -> Sequence[Node]:
        return self._levels[min(self.level, len(self._levels) - 1)]

    def follow(self, layers: Sequence[LayerInfo]) -> None:
        """Show the rows of these layers; costs nothing if they are the same as before."""
        if layers is self._layers:
            return
        same = _paths(layers) == _paths(self._layers)
        self._layers = layers
        if not same:
            self.named = not is_numbered(layers)
            self._arrange()

    def filter(self, pattern: str) -> None:
        """Show only layers whose path matches a glob, or contains a text; "" shows all."""
        if pattern != self.pattern:
            self.pattern = pattern
            self._arrange()

    def next_level(self) -> bool:
        """Go to the next fold level. Return False if there is only one."""
        self.level = (self.level + 1) % len(self._levels)
        self._toggled.clear()
        self.at = 0
        self._show()
        return len(self._levels) > 1

    def move(self, by: int) -> None:
        """Move the cursor by some rows."""
        self.at = min(max(self.at + by, 0), max(len(self.rows) - 1, 0))

    def enter(self) -> int | None:
        """Unfold or fold the row under the cursor. Return the position of a single layer."""
        if not self.rows:
            return None
        row = self.rows[self.at]
        if not row.node.children:
            return row.layer
        self._toggle(row.node)
        return None

    def fold(self) -> bool:
        """Fold the row under the cursor, or the one that contains it; return False without one."""
        current = self.rows[self.at] if self.rows else None
        for at in range(self.at, -1, -1):
            row = self.rows[at]
            if row.unfolded and (row is current or (current and row.indent < current.indent)):
                self.at = at
                self._toggle(row.node)
                return True
        return False

    def _toggle(self, node: Node) -> None:
        self._toggled ^= {node.key}
        self._show()

    def _arrange(self) -> None:
        matching = [at for at, layer in enumerate(self._layers) if matches(layer, self.pattern)]
        tree = self.tree = LayerTree(self._layers, matching)
        every = tree.every_layer()
        levels: list[tuple[str, Sequence[Node]]] = [("", tree.folded() if self.named else every)]
        if self.named:
            levels += [(f"to depth {k}", tree.down_to(k)) for k in range(1, tree.depth)]
            levels.append(("every layer", every))
        different: list[tuple[str, Sequence[Node]]] = []
        for title, nodes in levels:
            if all(nodes != others for _, others in different):
                different.append((title, nodes))
        self.titles, self._levels = zip(*different, strict=True)
        self.level = min(self.level, len(self._levels) - 1)
        self._toggled.clear()
        self.at = 0
        self._show()

    def _show(self) -> None:
        self.rows = tuple(visible(self._nodes, self._toggled))


def matches(layer: LayerInfo, pattern: str) -> bool:
    """Return whether a layer's path matches a glob; a text without wildcards is part of it.

    Such a text may also be part of the layer's kind or of its name. Case is ignored.
    """
    text = pattern.lower()
    if any(character in text for character in "*?["):
        return fnmatchcase(layer.location.lower(), text)
    names = (layer.location, layer.kind, layer.name, layer.activation)
    return any(text in name.lower() for name in names)


def _paths(layers: Sequence[LayerInfo]) -> list[tuple[object, ...]]:
    return [
        (layer.location, layer.parent, layer.kind, layer.units, layer.activation)
        for layer in layers
    ]
