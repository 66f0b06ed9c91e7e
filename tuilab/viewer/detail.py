"""The screen of one layer; the arrows change layer and time, tab the tensor."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from engine.frames import Snapshot
from tuilab.viewer.changes import FROZEN
from tuilab.viewer.panels.base import LinesPanel, Styles
from tuilab.viewer.panels.detail import Look, detail
from tuilab.viewer.store import RunStore
from tuilab.viewer.text import Line, Piece, fit, join, pad

KEYS = (
    (9, "↑↓", "layer"),
    (8, "tab", "tensor"),
    (7, "←→", "time"),
    (6, "e", "change it"),
    (5, "x", "axis: own, or that of all layers"),
    (4, "y", "heights: √, or log"),
    (10, "esc", "back"),
)


class DetailScreen(Screen[None]):
    """Shows one layer of a store's snapshot; `draw` brings it up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,ctrl+c", "dismiss", "back"),
        Binding("up,k", "layer(-1)", "layer above"),
        Binding("down,j", "layer(1)", "layer below"),
        Binding("x", "axis", "axis"),
        Binding("y", "heights", "heights"),
    ]

    def __init__(self, styles: Styles, store: Callable[[], RunStore], look: Look) -> None:
        super().__init__()
        self._panel = LinesPanel(styles, id="detail")
        self._keys = LinesPanel(styles, id="detail-keys")
        self._panel.add_class("panel")
        self._store = store
        self.look = look

    def compose(self) -> ComposeResult:
        """One panel, and the keys below it."""
        yield self._panel
        yield self._keys

    def on_mount(self) -> None:
        """Draw as soon as the size is known."""
        self._panel.draw_by(self.draw)
        self._keys.draw_by(self._draw_keys)

    def draw(self) -> None:
        """Show the store's snapshot: the newest, or the one that is looked at."""
        store = self._store()
        snapshot, size = store.snapshot, self._panel.content_size
        if snapshot is None or not size.width:
            return
        look = self.look = replace(
            self.look, layer=min(max(self.look.layer, 1), len(snapshot.statistics))
        )
        history = store.history(look.layer, look.tensor)
        self._panel.border_title = self._title(store, snapshot)
        self._panel.show(detail(look, snapshot, history, size.width, size.height))

    def _title(self, store: RunStore, snapshot: Snapshot) -> str:
        layers = store.info.layers
        layer = layers[self.look.layer - 1] if self.look.layer <= len(layers) else None
        name = f"{layer.name} · {layer.kind}, {layer.units} units" if layer else ""
        name += f"  {FROZEN} frozen" if layer and layer.frozen else ""
        back = "  [$text-warning]◀ as of then[/]" if store.at is not None else ""
        place = f"Layer {self.look.layer} of {len(snapshot.statistics)}"
        return f"{place}  {name}  at step {snapshot.step:,}{back}"

    def _draw_keys(self) -> None:
        pieces = [Piece(p, [(k, "key"), (f" {what}", "muted")]) for p, k, what in KEYS]
        width = self._keys.size.width
        line: Line = join([piece.line for piece in fit(pieces, width - 2)])
        self._keys.show([pad([(" ", ""), *line], width)])

    def action_layer(self, by: int) -> None:
        """Go to another layer."""
        self.look = replace(self.look, layer=self.look.layer + by)
        self.draw()

    def action_tensor(self, by: int) -> None:
        """Follow another tensor over time."""
        self.look = self.look.cycle(by)
        self.draw()

    def action_axis(self) -> None:
        """Change between an axis for each tensor and one for all hidden layers."""
        self.look = replace(self.look, shared=not self.look.shared)
        self.draw()

    def action_heights(self) -> None:
        """Change between heights by square roots and by logarithms."""
        self.look = replace(self.look, logarithmic=not self.look.logarithmic)
        self.draw()
