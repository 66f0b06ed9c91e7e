"""The screen of one layer: arrows change layer and time, letters the view, tab what it shows."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from engine.errors import TuilabError
from engine.statistics.frames import LayerInfo
from tuilab.charts.text import key_line, wrap
from tuilab.viewer.model.changes import FROZEN
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel, Styles
from tuilab.viewer.panels.layer import histograms
from tuilab.viewer.panels.layer.base import LayerViewState, Subject
from tuilab.viewer.panels.layer.views import VIEWS, chosen, detail, keys, offered
from tuilab.viewer.screens.overlay import Overlay


class DetailScreen(Overlay[None]):
    """Shows one layer of a store's snapshot; `draw` brings it up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,ctrl+c", "dismiss", "back"),
        Binding("up,k", "layer(-1)", "layer above"),
        Binding("down,j", "layer(1)", "layer below"),
        Binding("x", "axis", "axis"),
        Binding("y", "heights", "heights"),
        *(Binding(view.key, f"view('{view.name}')", view.name) for view in VIEWS),
    ]

    def __init__(self, styles: Styles, store: Callable[[], RunStore], look: LayerViewState) -> None:
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
        self._keys.draw_by(self.draw)

    def draw(self) -> None:
        """Show the store's snapshot: the newest, or the one that is looked at."""
        subject, size = self._subject(), self._panel.content_size
        if subject is None or not size.width:
            return
        self._panel.border_title = self._title(subject)
        try:
            self._draw_keys(subject)
            self._panel.show(detail(subject, size.width, size.height))
        except TuilabError as error:  # of a checkpoint that cannot be read
            self._panel.show(wrap([(str(error), "error")], size.width))

    def _subject(self) -> Subject | None:
        """Return what is known of the layer; None while there are no statistics."""
        store = self._store()
        snapshot = store.snapshot
        if snapshot is None:
            return None
        layer = min(max(self.look.layer, 1), len(snapshot.statistics))
        info = self._info(store, layer)
        self.look = replace(self.look, layer=layer)
        if self.look.axis == "fixed" and not self.look.held:
            self.look = histograms.held(self.look, snapshot, info.bounds)
        return Subject(
            self.look,
            info,
            snapshot,
            store.at is not None,
            store.info.pixels,
            partial(store.history, layer),
            partial(store.units, layer),
            partial(store.parameters, layer),
        )

    @staticmethod
    def _info(store: RunStore, layer: int) -> LayerInfo:
        known = store.info.layers
        unknown = LayerInfo(layer, "", "", 0, "")
        return known[layer - 1] if layer <= len(known) else unknown

    @staticmethod
    def _title(subject: Subject) -> str:
        layer, snapshot = subject.layer, subject.snapshot
        name = f"{layer.name} · {layer.kind}, {layer.units} units" if layer.units else ""
        name += f"  {FROZEN} frozen" if layer.frozen else ""
        back = "  [$text-warning]◀ as of then[/]" if subject.past else ""
        place = f"Layer {subject.look.layer} of {len(snapshot.statistics)}"
        return f"{place}  {name}  at step {snapshot.step:,}{back}"

    def _draw_keys(self, subject: Subject) -> None:
        shown = ((key.priority, key.shown, key.label) for key in keys(subject))
        self._keys.show([key_line(shown, self._keys.size.width)])

    def _change(self, change: Callable[[Subject], LayerViewState]) -> None:
        """Look differently, as far as there is anything to look at."""
        subject = self._subject()
        if subject is not None:
            self.look = change(subject)
            self.draw()

    def action_layer(self, by: int) -> None:
        """Go to another layer; what was held of this one is held no more."""
        self.look = replace(self.look, layer=self.look.layer + by, held={}, page=0)
        self.draw()

    def action_view(self, name: str) -> None:
        """Look at the layer in another way, if there is this one of it."""
        subject = self._subject()
        if subject is not None and name not in [view.name for view in offered(subject)]:
            self.notify(f"this layer has no view of its {name}", timeout=3)
        else:
            self._change(lambda subject: replace(subject.look, view=name, page=0))

    def turn(self, by: int) -> None:
        """Go to what is next in the view: a tensor, a quantity, a page."""
        self._change(lambda subject: chosen(subject).turn(subject, by))

    def action_axis(self) -> None:
        """Change the range of the histograms."""
        self._change(histograms.next_axis)

    def action_heights(self) -> None:
        """Change between heights by square roots and by logarithms."""
        self.look = replace(self.look, logarithmic=not self.look.logarithmic)
        self.draw()
