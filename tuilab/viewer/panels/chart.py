"""One chart over steps: its title is the legend; the mouse zooms, pans and reads values."""

from typing import Final, Protocol

from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Offset

from tuilab.charts import formats, plot
from tuilab.charts.symbols import NOT_FINITE
from tuilab.charts.text import Line, join, width, wrap
from tuilab.viewer.curves import Kind, Scene
from tuilab.viewer.curves.legends import legend, names, read_out
from tuilab.viewer.panels.base import LinesPanel, Styles

ZOOM: Final = 0.8
"""Factor of the window's width per notch of the wheel."""


class Mouse(Protocol):
    """What a chart does with the mouse, for all charts beside it."""

    def choose(self, name: str) -> None: ...
    def ask_enlarge(self) -> None: ...
    def zoom(self, factor: float, at: float | None = None) -> None: ...
    def pan(self, share: float) -> None: ...
    def point(self, step: float | None) -> None: ...


class ChartPanel(LinesPanel):
    """Draws one kind of chart; a cursor is overlaid on what is drawn."""

    ALLOW_SELECT = False  # dragging pans

    def __init__(self, styles: Styles, kind: Kind, mouse: Mouse) -> None:
        super().__init__(styles, id=kind.name)
        self.kind, self._mouse = kind, mouse
        self.border_title = kind.title
        self._scene: Scene | None = None
        self._drawing = plot.Drawing()
        self._heads: dict[str, Line] = {}
        self.pointed: float | None = None  # step of the cursor
        self._pressed: int | None = None  # column at which the mouse button went down
        self._dragged = False

    def update(self, scene: Scene) -> None:
        """Draw the chart."""
        width, height = self.content_size.width, self.content_size.height
        if not width:
            return
        scene = self._scene = Scene(
            scene.store, scene.others, scene.viewport, max(2 * width - 12, 16)
        )
        chart = self.kind.chart(scene)
        self._drawing = plot.paint(chart, width, height)
        self._head("border_title", self._title(scene, chart, width - 2))
        self.point(self.pointed)

    def point(self, step: float | None) -> None:
        """Overlay a cursor on the chart and show the values there; None removes it."""
        self.pointed = step
        scene, drawing = self._scene, self._drawing
        if scene is None:
            return
        drawn = drawing.lines if step is None else drawing.with_cursor(step)
        self.show(drawn or self._words(scene))
        self._head("border_subtitle", self._subtitle(scene, self.content_size.width - 2))

    def _title(self, scene: Scene, chart: plot.Chart, cells: int) -> Line:
        """Return the legend, and flags for the axis and for smoothing."""
        flags: list[Line] = []
        if broken := self.kind.broken(scene):
            flags.append([(f"{NOT_FINITE.glyph} {formats.count(broken)}", NOT_FINITE.role)])
        if scene.viewport.logarithmic is not None and self.kind.has_axes:
            flags.append([("log" if chart.logarithmic else "linear", "muted")])
        if scene.viewport.smoothing and self.kind.smoothed:
            flags.append([(f"~{scene.viewport.smoothing:g}", "muted")])
        tail: Line = [("  ", ""), *join(flags)] if flags else []
        values = [] if self._missing(scene) else self.kind.values(scene, scene.store.at)
        return [*legend(self.kind.title, values, cells - width(tail)), *tail]

    def _subtitle(self, scene: Scene, cells: int) -> Line:
        """Return the values at the cursor, otherwise the window and the names of other curves."""
        if self.pointed is not None:
            step = round(self.pointed)
            epoch = scene.epoch(step)
            where = f"step {formats.count(step)}" + (f"  epoch {epoch:.1f}" if epoch else "")
            return read_out(where, self.kind.read(scene, step), cells)
        low, high = (round(end) for end in scene.window)
        window = (
            f"steps {formats.count(low)}–{formats.count(high)}" if scene.viewport.zoomed else ""
        )
        part: Line = [(window, "key")] if window and len(window) <= cells else []
        room = cells - (width(part) + 2 if part else 0)
        others = names(self.kind.beside(scene, scene.store.at), room)
        return join([piece for piece in (part, others) if piece])

    def _missing(self, scene: Scene) -> bool:
        return not self.kind.waits(scene) and self.kind.missing(scene)

    def _words(self, scene: Scene) -> list[Line]:
        """Return why there is no chart."""
        live = scene.store.live
        if not plot.has_room(self.content_size.width, self.content_size.height):
            words = "not enough room for a chart"
        elif self.kind.waits(scene):
            words = f"waiting for {self.kind.awaited} …" if live else "nothing was recorded"
        elif self.kind.missing(scene):
            words = self.kind.absent(scene)
        else:
            words = "no finite values" if not scene.viewport.zoomed else "no data in this window"
        return wrap([(words, "muted")], self.content_size.width)

    def _head(self, which: str, line: Line) -> None:
        """Write into the border, unless that text is there already: it costs a repaint."""
        if self._heads.get(which) != line:
            self._heads[which] = line
            styles = self._styles()
            text = Text.assemble(*((span, styles.get(role, Style())) for span, role in line))
            setattr(self, which, text)

    def restyle(self) -> None:
        """Switch to the colours of another theme, in the border too."""
        heads, self._heads = self._heads, {}
        for which, line in heads.items():
            self._head(which, line)
        super().restyle()

    def _step(self, event: events.MouseEvent) -> float | None:
        place: Offset | None = event.get_content_offset(self)
        return None if place is None else self._drawing.step_at(place.x)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in around the pointer."""
        event.stop()
        self._mouse.zoom(ZOOM, self._step(event))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out around the pointer."""
        event.stop()
        self._mouse.zoom(1 / ZOOM, self._step(event))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Select this chart; start panning."""
        self._mouse.choose(self.kind.name)
        self._pressed, self._dragged = event.x, False
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Pan while the button is held, otherwise read values below the pointer."""
        if self._pressed is None:
            self._mouse.point(self._step(event))
        elif event.x != self._pressed and self._drawing.columns:
            share = (self._pressed - event.x) / self._drawing.columns
            self._pressed, self._dragged = event.x, True
            self._mouse.pan(share)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """End panning."""
        self._pressed = None
        self.release_mouse()
        self._mouse.point(self._step(event))

    def on_click(self, event: events.Click) -> None:
        """Enlarge the chart, or undo that, on a double click."""
        if event.chain == 2 and not self._dragged:
            self._mouse.ask_enlarge()

    def on_leave(self) -> None:
        """Remove the cursor with the pointer."""
        self._mouse.point(None)
