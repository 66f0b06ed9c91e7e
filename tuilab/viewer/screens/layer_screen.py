"""The screen of one layer: arrows change layer and step, letters the view, tab its contents."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from engine.errors import TuilabError
from engine.statistics.frames import LayerInfo
from tuilab.charts.symbols import FROZEN, PAST
from tuilab.charts.text import key_line, wrap
from tuilab.record.run_info import OWN_SOURCE
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import LinesPanel, Styles
from tuilab.viewer.panels.layer import histograms
from tuilab.viewer.panels.layer.base import LayerViewState, Subject
from tuilab.viewer.panels.layer.views import VIEWS, chosen, keys, layer_lines, offered
from tuilab.viewer.screens.overlay import Overlay


class LayerScreen(Overlay[None]):
    """Shows one layer of a store's snapshot; `draw` brings it up to date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,ctrl+c", "dismiss", "back"),
        Binding("up,k", "layer(-1)", "layer above"),
        Binding("down,j", "layer(1)", "layer below"),
        Binding("x", "axis", "axis"),
        Binding("y", "heights", "heights"),
        *(Binding(view.key, f"view('{view.name}')", view.name) for view in VIEWS),
    ]

    def __init__(
        self, styles: Styles, store: Callable[[], RunStore], view_state: LayerViewState
    ) -> None:
        super().__init__()
        self._panel = LinesPanel(styles, id="layer")
        self._keys = LinesPanel(styles, id="layer-keys")
        self._panel.add_class("panel")
        self._store = store
        self.view_state = view_state

    def compose(self) -> ComposeResult:
        """Yield one panel, and the keys below it."""
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
            self._panel.show(layer_lines(subject, size.width, size.height))
        except TuilabError as error:  # a checkpoint cannot be read
            self._panel.show(wrap([(str(error), "error")], size.width))

    def _subject(self) -> Subject | None:
        """Return what is known of the layer; None while there are no statistics."""
        store = self._store()
        snapshot = store.snapshot
        if snapshot is None:
            return None
        layer = min(max(self.view_state.layer, 1), len(snapshot.statistics))
        info = self._info(store, layer)
        self.view_state = replace(self.view_state, layer=layer)
        if self.view_state.axis == "fixed" and not self.view_state.axes:
            self.view_state = histograms.fixed(self.view_state, snapshot, info.bounds)
        return Subject(
            self.view_state,
            info,
            snapshot,
            store.at is not None,
            store.info.pixels,
            partial(store.history, layer),
            partial(store.units, layer),
            partial(store.parameters, layer),
            store.info.source == OWN_SOURCE,
        )

    @staticmethod
    def _info(store: RunStore, layer: int) -> LayerInfo:
        known = store.info.layers
        unknown = LayerInfo(layer, "", "", 0, "")
        return known[layer - 1] if layer <= len(known) else unknown

    @staticmethod
    def _title(subject: Subject) -> str:
        layer, snapshot = subject.layer, subject.snapshot
        called = layer.name if layer.path in ("", str(layer.index)) else layer.path
        name = f"{called} · {layer.kind}, {layer.units} units" if layer.units else called
        name += f"  {FROZEN.glyph} frozen" if layer.frozen else ""
        back = f"  [$text-warning]{PAST.glyph} an earlier step[/]" if subject.past else ""
        place = f"Layer {subject.state.layer} of {len(snapshot.statistics)}"
        return f"{place}  {name}  at step {snapshot.step:,}{back}"

    def _draw_keys(self, subject: Subject) -> None:
        shown = ((key.priority, key.shown, key.label) for key in keys(subject))
        self._keys.show([key_line(shown, self._keys.size.width)])

    def _change(self, change: Callable[[Subject], LayerViewState]) -> None:
        """Change the view state, if there is anything to show."""
        subject = self._subject()
        if subject is not None:
            self.view_state = change(subject)
            self.draw()

    def action_layer(self, by: int) -> None:
        """Go to another layer; axes that were fixed for this one are released."""
        self.view_state = replace(
            self.view_state, layer=self.view_state.layer + by, axes={}, page=0
        )
        self.draw()

    def action_view(self, name: str) -> None:
        """Switch to another view, if the layer has it."""
        subject = self._subject()
        if subject is not None and name not in [view.name for view in offered(subject)]:
            self.notify(f"this layer has no {name} view", timeout=3)
        else:
            self._change(lambda subject: replace(subject.state, view=name, page=0))

    def turn(self, by: int) -> None:
        """Go to the next tensor, quantity or page of the view."""
        self._change(lambda subject: chosen(subject).turn(subject, by))

    def action_axis(self) -> None:
        """Change the axis of the histograms."""
        self._change(histograms.next_axis)

    def action_heights(self) -> None:
        """Switch between square roots and logarithms as heights."""
        self.view_state = replace(self.view_state, logarithmic=not self.view_state.logarithmic)
        self.draw()
