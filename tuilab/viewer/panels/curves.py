"""One chart over steps: its title is the legend, the mouse zooms, pans and reads it."""

from typing import Final, Protocol

from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Offset

from tuilab.charts import formats, plot
from tuilab.charts.text import Line, join, width
from tuilab.viewer.curves import Kind, Scene
from tuilab.viewer.curves.legends import legend, names, read_out
from tuilab.viewer.panels.base import LinesPanel, Styles

ZOOM: Final = 0.8
"""What is left of the window by one notch of the wheel."""


class Board(Protocol):
    """What a chart tells of the mouse."""

    def choose(self, name: str) -> None: ...
    def ask_enlarge(self) -> None: ...
    def zoom(self, factor: float, at: float | None = None) -> None: ...
    def pan(self, share: float) -> None: ...
    def point(self, step: float | None) -> None: ...


class Curves(LinesPanel):
    """Draws one kind of chart by `update`; a cursor is laid over what is drawn."""

    ALLOW_SELECT = False  # dragging pans

    def __init__(self, styles: Styles, kind: Kind, board: Board) -> None:
        super().__init__(styles, id=kind.name)
        self.kind, self._board = kind, board
        self.border_title = kind.title
        self._scene: Scene | None = None
        self._picture = plot.Picture()
        self._heads: dict[str, Line] = {}
        self.pointed: float | None = None  # step of the cursor
        self._held: int | None = None  # column at which the mouse button went down
        self._dragged = False

    def update(self, scene: Scene) -> None:
        """Draw the chart anew."""
        width, height = self.content_size.width, self.content_size.height
        if not width:
            return
        scene = self._scene = Scene(scene.store, scene.others, scene.lens, max(2 * width - 12, 16))
        chart = self.kind.chart(scene)
        self._picture = plot.paint(chart, width, height)
        self._head("border_title", self._title(scene, chart, width - 2))
        self.point(self.pointed)

    def point(self, step: float | None) -> None:
        """Lay a cursor over the chart and read it there; None takes it away."""
        self.pointed = step
        scene, picture = self._scene, self._picture
        if scene is None:
            return
        drawn = picture.lines if step is None else picture.with_cursor(step)
        self.show(drawn or self._words(scene))
        self._head("border_subtitle", self._subtitle(scene, self.content_size.width - 2))

    def _title(self, scene: Scene, chart: plot.Chart, cells: int) -> Line:
        """Return the legend, and how the chart is looked at."""
        flags: list[Line] = []
        if broken := self.kind.broken(scene):
            flags.append([(f"✕ {formats.count(broken)}", "error")])
        if scene.lens.logarithmic is not None and self.kind.has_axes:
            flags.append([("log" if chart.logarithmic else "linear", "muted")])
        if scene.lens.smoothing and self.kind.smoothed:
            flags.append([(f"~{scene.lens.smoothing:g}", "muted")])
        tail: Line = [("  ", ""), *join(flags)] if flags else []
        values = self.kind.values(scene, scene.store.at)
        return [*legend(self.kind.title, values, cells - width(tail)), *tail]

    def _subtitle(self, scene: Scene, cells: int) -> Line:
        """Return the read-out at the cursor, else what else is drawn, and which part is seen."""
        if self.pointed is not None:
            step = round(self.pointed)
            epoch = scene.epoch(step)
            where = f"step {formats.count(step)}" + (f"  epoch {epoch:.1f}" if epoch else "")
            return read_out(where, self.kind.read(scene, step), cells)
        low, high = (round(end) for end in scene.window)
        seen = f"steps {formats.count(low)}–{formats.count(high)}" if scene.lens.zoomed else ""
        part: Line = [(seen, "key")] if seen and len(seen) <= cells else []
        room = cells - (width(part) + 2 if part else 0)
        others = names(self.kind.beside(scene, scene.store.at), room)
        return join([piece for piece in (part, others) if piece])

    def _words(self, scene: Scene) -> list[Line]:
        """Say why there is no chart."""
        live = scene.store.live
        if not plot.has_room(self.content_size.width, self.content_size.height):
            words = "no room for curves"
        elif self.kind.waits(scene):
            words = f"waiting for {self.kind.awaited} …" if live else f"{self.kind.awaited}: none"
        else:
            words = "nothing finite to draw" if not scene.lens.zoomed else "nothing in this window"
        return [[(words, "muted")]]

    def _head(self, which: str, line: Line) -> None:
        """Write into the border, where it differs from what stands there: it costs a repaint."""
        if self._heads.get(which) != line:
            self._heads[which] = line
            styles = self._styles()
            text = Text.assemble(*((span, styles.get(role, Style())) for span, role in line))
            setattr(self, which, text)

    def restyle(self) -> None:
        """Take up the colours of another theme, in the border too."""
        heads, self._heads = self._heads, {}
        for which, line in heads.items():
            self._head(which, line)
        super().restyle()

    def _step(self, event: events.MouseEvent) -> float | None:
        place: Offset | None = event.get_content_offset(self)
        return None if place is None else self._picture.step_at(place.x)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in around the pointer."""
        event.stop()
        self._board.zoom(ZOOM, self._step(event))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out around the pointer."""
        event.stop()
        self._board.zoom(1 / ZOOM, self._step(event))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Choose this chart; begin to pan."""
        self._board.choose(self.kind.name)
        self._held, self._dragged = event.x, False
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Pan while the button is held, else read what is below the pointer."""
        if self._held is None:
            self._board.point(self._step(event))
        elif event.x != self._held and self._picture.columns:
            share = (self._held - event.x) / self._picture.columns
            self._held, self._dragged = event.x, True
            self._board.pan(share)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """End panning."""
        self._held = None
        self.release_mouse()
        self._board.point(self._step(event))

    def on_click(self, event: events.Click) -> None:
        """Enlarge the chart, or end that, by a double click."""
        if event.chain == 2 and not self._dragged:
            self._board.ask_enlarge()

    def on_leave(self) -> None:
        """Take the cursor away with the pointer."""
        self._board.point(None)
