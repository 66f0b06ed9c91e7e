"""The one widget under all panels: it shows lines, and repaints those that changed."""

from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tuilab.charts.color_scales import painted
from tuilab.charts.text import Line, crop

Styles = Callable[[], dict[str, Style]]


class LinesPanel(Widget):
    """Shows lines of spans; `styles` gives the role styles of the current theme."""

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._styles = styles
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._base: Style | None = None  # the panel's own colours; None: not known yet
        self._width = 0  # for which the strips are
        self._again: Callable[[], None] | None = None

    @property
    def lines(self) -> list[Line]:
        """What is shown now."""
        return self._lines

    def draw_by(self, draw: Callable[[], None]) -> None:
        """Draw now, and again whenever the size changes."""
        self._again = draw
        if self.size.width:
            draw()

    def on_resize(self) -> None:
        """Draw at the new size."""
        if self._again is not None:
            self._again()

    def show(self, lines: Sequence[Line]) -> None:
        """Show `lines` from the top; only rows that differ from what is shown are repainted."""
        old, new = self._lines, list(lines)
        self._lines = new
        changed = [
            y
            for y in range(max(len(old), len(new)))
            if y >= len(old) or y >= len(new) or old[y] != new[y]
        ]
        if len(old) != len(new):
            self._strips = []
        for y in changed:
            if y < len(self._strips) and self._base is not None:
                self._strips[y] = self._strip(new[y], self._base)
        if changed and self.size.width:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def restyle(self) -> None:
        """Take up the colours of another theme."""
        self._base = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return row `y`, prepared beforehand."""
        width = self.content_size.width
        if self._base is None or self._width != width or len(self._strips) != len(self._lines):
            self._base, self._width = self.rich_style, width
            self._strips = [self._strip(line, self._base) for line in self._lines]
        return self._strips[y] if y < len(self._strips) else Strip.blank(width, self._base)

    def _strip(self, line: Line, base: Style) -> Strip:
        styles = self._styles()
        segments = [
            Segment(text, base + (styles[role] if role in styles else painted(role, styles)))
            for text, role in line
        ]
        return Strip(segments).simplify().adjust_cell_length(self.content_size.width, base)


class ScrolledPanel(LinesPanel):
    """Lines of which some are out of sight; the wheel moves them, as keys do."""

    def scroll_by(self, by: int) -> None:
        """Move by so many lines, or layers."""
        raise NotImplementedError

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.scroll_by(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.scroll_by(-1)


class TextPanel(ScrolledPanel):
    """Lines that scroll where they are longer than the panel."""

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(styles, id=id)
        self._text: list[Line] = []
        self._start = 0

    def show_text(self, lines: Sequence[Line]) -> None:
        """Show what fits of `lines` from where it was scrolled to."""
        self._text = list(lines)
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Move by so many lines."""
        self._start += by
        self._draw()

    def _draw(self) -> None:
        width, height = self.content_size
        self._start = min(max(self._start, 0), max(len(self._text) - height, 0))
        more = len(self._text) - self._start - height
        self.border_subtitle = f"{more} more ↓" if more > 0 else ""
        self.show([crop(line, width) for line in self._text[self._start :][:height]])
