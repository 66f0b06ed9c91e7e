"""The charts over steps, and the viewport through which all of them are seen."""

from typing import Final

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from tuilab.charts.viewport import Viewport
from tuilab.viewer.action import Action
from tuilab.viewer.curves import KINDS, Scene
from tuilab.viewer.panels.base import Panel, PanelContext, PanelSpec, Styles
from tuilab.viewer.panels.chart import ChartPanel

FIRST: Final = KINDS[0].name


class Curves(Panel, Container):
    """A panel for each kind of chart; keys and the mouse act on all of them."""

    DEFAULT_CSS = """
    Curves { width: 2fr; height: 1fr; layout: grid; grid-size: 2; }
    Curves > .panel { width: 1fr; height: 1fr; }
    """

    class Enlarge(Message):
        """The selected chart is to fill the screen, or no longer."""

    def __init__(self, styles: Styles) -> None:
        super().__init__(id="curves")
        self.charts = {kind.name: ChartPanel(styles, kind, self) for kind in KINDS}
        for panel in self.charts.values():
            panel.add_class("panel")
        self.viewport = Viewport()
        self.large = False  # one chart fills the panel
        self.selected = FIRST  # that one, and the only one where there is room for one
        self._second = KINDS[1].name  # the one beside the first
        self._shape = (2, 1)  # columns and rows
        self._scene: Scene | None = None

    def compose(self) -> ComposeResult:
        """Yield all charts; those without room are hidden."""
        yield from self.charts.values()

    @property
    def shown(self) -> list[ChartPanel]:
        """The charts that are visible."""
        number = 1 if self.large else self._shape[0] * self._shape[1]
        if number == 1:
            return [self.charts[self.selected]]
        others = self._names[1:]
        start = others.index(self._second) if self._second in others else 0
        following = [*others[start:], *others[:start]][: number - 1]
        return [panel for name, panel in self.charts.items() if name in (FIRST, *following)]

    @property
    def _names(self) -> list[str]:
        """The charts to choose from: the first, and those of what the runs record."""
        scene = self._scene
        recorded = [
            kind
            for kind in KINDS[1:]
            if scene is None or kind.waits(scene) or not kind.missing(scene)
        ]
        return [FIRST, *(kind.name for kind in recorded)]

    def prepare(self, context: PanelContext) -> None:
        """Lay out as many charts as there is room for."""
        self.large &= not context.overview
        self._lay_out(context.charts)

    def _lay_out(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        shown = self.shown
        columns = min(shape[0], len(shown))
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = -(-len(shown) // columns)
        for panel in self.charts.values():  # what does not change costs nothing
            panel.display = panel in shown
            panel.set_class(panel.kind.name == self.selected and len(shown) > 1, "selected")
            panel.styles.column_span = 1 + (-len(shown) % columns if panel is shown[0] else 0)

    def present(self, context: PanelContext) -> None:
        """Draw the charts that are visible."""
        before, self._scene = self._names, Scene(context.store, context.others, self.viewport)
        if self._names != before:
            self._lay_out(self._shape)
        self._draw()

    def _draw(self) -> None:
        scene = self._scene
        if scene is not None:
            for panel in self.shown:
                panel.draw_by(lambda panel=panel: panel.update(scene))  # type: ignore[misc]

    def _look_through(self, viewport: Viewport) -> None:
        if viewport != self.viewport and self._scene is not None:
            self.viewport = viewport
            self._scene = Scene(self._scene.store, self._scene.others, viewport)
            self._draw()

    def zoom(self, factor: float, at: float | None = None) -> None:
        """Zoom around the step `at`; None: the pointer, the step looked at, or the newest."""
        scene = self._scene
        if scene is None:
            return
        candidates = (at, self._pointed, scene.store.at, scene.newest)
        centre = next(step for step in candidates if step is not None)
        self._look_through(self.viewport.zoom(factor, centre, scene.newest))

    def pan(self, share: float) -> None:
        """Move the window by a share of its width."""
        if self._scene is not None:
            self._look_through(self.viewport.pan(share, self._scene.newest))

    def toggle_axis(self) -> None:
        """Switch between the automatic axis of the loss and the other one."""
        if self._scene is not None:
            logarithmic = KINDS[0].chart(self._scene).logarithmic
            self._look_through(self.viewport.other_axis(logarithmic=logarithmic))

    def smooth(self) -> None:
        """Smooth more; after the strongest, not at all."""
        self._look_through(self.viewport.smoother())

    def reset(self) -> bool:
        """Show all steps again. Return whether only some were shown."""
        zoomed = self.viewport.zoomed
        self._look_through(self.viewport.reset())
        return zoomed

    @property
    def _pointed(self) -> float | None:
        return next((panel.pointed for panel in self.shown if panel.pointed is not None), None)

    def point(self, step: float | None) -> None:
        """Put the cursor of all charts at a step; None removes it."""
        for panel in self.shown:
            panel.point(step)

    def choose(self, name: str) -> None:
        """Select the chart that `Enlarge` is about."""
        self.selected = name
        self._lay_out(self._shape)

    def ask_enlarge(self) -> None:
        """Ask for the selected chart to be enlarged, or for the end of that."""
        self.post_message(self.Enlarge())

    def cycle(self) -> None:
        """Show the next kind in place of the second chart, or of the only one."""
        names = self._names
        alone = len(self.shown) == 1
        if not alone:
            names = names[1:]
        now = self.selected if alone else self._second
        chosen = names[(names.index(now) + 1) % len(names)] if now in names else names[0]
        self.selected = chosen
        if not alone:
            self._second = chosen
        self._lay_out(self._shape)
        self.call_after_refresh(self._draw)


PANEL: Final = PanelSpec(
    name="curves",
    order=10,
    slot="upper",
    key="1",
    help="curves alone (again: everything); enter: one of them",
    widget=Curves,
    stale_on=frozenset(("state", "series", "validations", "events", "snapshot", "others")),
    period=0.33,
    actions=(
        Action("chart", "x", "x", "other chart",
               "another chart beside the loss: update ratios, gradient norms, learning rate",
               Curves.cycle, priority=52, scope="panels"),
        Action("axis", "y", "y", "axis",
               "loss on the other axis, logarithmic or linear; again: automatic",
               Curves.toggle_axis, scope="panels"),
        Action("smooth", "tilde,S,upper_s", "~ S", "smooth",
               "moving average of the curves: 0.6, 0.9, 0.99, off",
               Curves.smooth, scope="panels"),
        Action("zoom_in", "i", "i", "zoom in",
               "zoom into the curves; the wheel zooms at the pointer",
               lambda curves: curves.zoom(0.5), scope="panels"),
        Action("zoom_out", "I,upper_i", "I", "zoom out", "zoom out of the curves",
               lambda curves: curves.zoom(2.0), scope="panels"),
        Action("pan_back", "comma", ",", "pan back",
               "earlier steps of zoomed curves; dragging them does the same",
               lambda curves: curves.pan(-0.25), scope="panels"),
        Action("pan_forward", "full_stop", ".", "pan forward",
               "later steps of zoomed curves; at the newest step, follow it",
               lambda curves: curves.pan(0.25), scope="panels"),
    ),
)  # fmt: skip
