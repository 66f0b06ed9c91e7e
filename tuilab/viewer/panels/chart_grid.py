"""The charts beside each other: which are shown, and the lens through which all are looked at."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from tuilab.charts.viewport import Viewport
from tuilab.viewer.curves import KINDS, Scene
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.base import Styles
from tuilab.viewer.panels.curves import Curves

FIRST = KINDS[0].name


class ChartGrid(Container):
    """Holds a panel for each kind of chart; keys and the mouse of every panel end here."""

    class Enlarge(Message):
        """A chart shall have the screen for itself, or no longer."""

    def __init__(self, styles: Styles) -> None:
        super().__init__(id="curves")
        self.charts = {kind.name: Curves(styles, kind, self) for kind in KINDS}
        for panel in self.charts.values():
            panel.add_class("panel")
        self.lens = Viewport()
        self.large = False  # one chart fills the board
        self.chosen = FIRST  # that one, and where there is room for one only
        self._second = KINDS[1].name  # what stands beside the first
        self._grid = (2, 1)  # columns and rows
        self._scene: Scene | None = None

    def compose(self) -> ComposeResult:
        """Place all charts; `lay_out` hides those that there is no room for."""
        yield from self.charts.values()

    @property
    def shown(self) -> list[Curves]:
        """The charts that are in sight."""
        number = 1 if self.large else self._grid[0] * self._grid[1]
        if number == 1:
            return [self.charts[self.chosen]]
        others = [kind.name for kind in KINDS[1:]]
        start = others.index(self._second)
        following = [*others[start:], *others[:start]][: number - 1]
        return [panel for name, panel in self.charts.items() if name in (FIRST, *following)]

    def lay_out(self, grid: tuple[int, int]) -> None:
        """Lay so many columns and rows out, and fill them."""
        self._grid = grid
        shown = self.shown
        columns = min(grid[0], len(shown))
        self.styles.grid_size_columns = columns
        self.styles.grid_size_rows = -(-len(shown) // columns)
        for panel in self.charts.values():  # what stays as it is costs nothing
            panel.display = panel in shown
            panel.set_class(panel.kind.name == self.chosen and len(shown) > 1, "chosen")
            panel.styles.column_span = 1 + (-len(shown) % columns if panel is shown[0] else 0)

    def update(self, store: RunStore, others: Sequence[OtherRun]) -> None:
        """Draw the charts that are in sight."""
        self._scene = Scene(store, others, self.lens)
        self._draw()

    def _draw(self) -> None:
        scene = self._scene
        if scene is not None:
            for panel in self.shown:
                panel.draw_by(lambda panel=panel: panel.update(scene))  # type: ignore[misc]

    def _look(self, lens: Viewport) -> None:
        """Look through another lens from now on."""
        if lens != self.lens and self._scene is not None:
            self.lens = lens
            self._scene = Scene(self._scene.store, self._scene.others, lens)
            self._draw()

    def zoom(self, factor: float, at: float | None = None) -> None:
        """Zoom around a step; None: the pointer, the step that is looked at, or the newest."""
        scene = self._scene
        if scene is None:
            return
        around = (at, self._pointed, scene.store.at, scene.newest)
        centre = next(step for step in around if step is not None)
        self._look(self.lens.zoom(factor, centre, scene.newest))

    def pan(self, share: float) -> None:
        """Move the window by a share of its width."""
        if self._scene is not None:
            self._look(self.lens.pan(share, self._scene.newest))

    def toggle_axis(self) -> None:
        """Change between the automatic axis of the loss and the other one."""
        if self._scene is not None:
            now = KINDS[0].chart(self._scene).logarithmic
            self._look(self.lens.other_axis(logarithmic=now))

    def smooth(self) -> None:
        """Smooth more, and after the most not at all."""
        self._look(self.lens.smoother())

    def reset(self) -> bool:
        """Show all steps again; tells whether it was otherwise."""
        zoomed = self.lens.zoomed
        self._look(self.lens.reset())
        return zoomed

    @property
    def _pointed(self) -> float | None:
        return next((panel.pointed for panel in self.shown if panel.pointed is not None), None)

    def point(self, step: float | None) -> None:
        """Put the cursor of all charts at a step; None takes it away."""
        for panel in self.shown:
            panel.point(step)

    def choose(self, name: str) -> None:
        """Make a chart the one that is enlarged."""
        self.chosen = name
        self.lay_out(self._grid)

    def ask_enlarge(self) -> None:
        """Ask for the chosen chart to be enlarged, or for the end of that."""
        self.post_message(self.Enlarge())

    def cycle(self) -> None:
        """Show another kind in the place of the second chart, or of the only one."""
        names = [kind.name for kind in KINDS]
        if len(self.shown) == 1:
            self.chosen = names[(names.index(self.chosen) + 1) % len(names)]
        else:
            place = names.index(self._second) % (len(names) - 1)
            self._second = self.chosen = names[place + 1]
        self._rearrange()

    def _rearrange(self) -> None:
        self.lay_out(self._grid)
        self.call_after_refresh(self._draw)
