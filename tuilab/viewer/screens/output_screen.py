"""The screen of what a program printed: it follows the log, until it is scrolled back."""

from typing import ClassVar, Final

from rich.cells import chop_cells
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from tuilab.charts.text import Line, key_line
from tuilab.record.output_log import OutputLog
from tuilab.viewer.panels.base import LinesPanel, ScrolledPanel, Styles
from tuilab.viewer.screens.overlay import Overlay

KEYS: Final = (
    (9, "↑↓", "scroll"),
    (8, "pgup pgdn", "a page"),
    (7, "home", "start"),
    (7, "end", "follow"),
    (10, "o, esc", "back"),
)
PERIOD: Final = 0.2  # seconds between two looks at the log


class OutputPanel(ScrolledPanel):
    """Lines of a log, broken at the width of the panel; the last ones, unless scrolled back."""

    def __init__(self, styles: Styles, log: OutputLog) -> None:
        super().__init__(styles, id="output-text")
        self._log = log
        self._last: int | None = None  # number of the last line in sight; None: follow

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of lines; at the end, follow."""
        lines, forgotten = self._log.lines, self._log.printout.forgotten
        newest = forgotten + len(lines) - 1
        first_page = forgotten + self._fitting(lines)
        last = max((newest if self._last is None else self._last) + by, min(first_page, newest))
        self._last = None if last >= newest else last
        self.draw()

    def _fitting(self, lines: list[str]) -> int:
        """Return the index of the last of the first lines that fit."""
        rows = 0
        for at, line in enumerate(lines):
            rows += len(self._rows(line))
            if rows >= self.page:
                return at
        return max(len(lines) - 1, 0)

    def _rows(self, line: str) -> list[str]:
        return chop_cells(line, max(self.content_size.width, 1)) or [""]

    def draw(self) -> None:
        """Show the lines as they are now."""
        lines, forgotten = self._log.lines, self._log.printout.forgotten
        count = len(lines)
        last = count - 1 if self._last is None else max(self._last - forgotten, 0)
        rows: list[str] = []
        for at in range(last, -1, -1):
            rows[:0] = self._rows(lines[at])
            if len(rows) >= self.page:
                break
        shown: list[Line] = [[(row, "")] for row in rows[-self.page :]]
        self.show(shown or [[("the program has printed nothing yet", "muted")]])
        below = count - 1 - last
        self.border_subtitle = f"{below:,} more ↓" if below > 0 else ""


class OutputScreen(Overlay[None]):
    """Shows the output of a run's program."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,o,ctrl+c", "dismiss", "back"),
        Binding("up,k", "scroll(-1)", "up"),
        Binding("down,j", "scroll(1)", "down"),
        Binding("pageup,b", "page(-1)", "a page up"),
        Binding("pagedown", "page(1)", "a page down"),
        Binding("home", "scroll(-1000000)", "start"),
        Binding("end", "scroll(1000000)", "end"),
    ]

    def __init__(self, styles: Styles, log: OutputLog) -> None:
        super().__init__()
        self._log = log
        self._text = OutputPanel(styles, log)
        self._text.add_class("panel")
        self._text.border_title = "Output"
        self._keys = LinesPanel(styles, id="output-keys")

    def compose(self) -> ComposeResult:
        """Yield the lines and the keys."""
        yield self._text
        yield self._keys

    def on_mount(self) -> None:
        """Draw as soon as the size is known, and follow the log."""
        self._log.poll()
        self._text.draw_by(self._text.draw)
        self._keys.draw_by(lambda: self._keys.show([key_line(KEYS, self._keys.size.width)]))
        self.set_interval(PERIOD, self.draw)

    def draw(self) -> None:
        """Show what is new."""
        if self._log.poll():
            self._text.draw()

    def turn(self, by: int) -> None:
        """Scroll by pages."""
        self.action_page(by)

    def action_scroll(self, by: int) -> None:
        """Scroll by lines: what a binding calls."""
        self._text.scroll_by(by)

    def action_page(self, by: int) -> None:
        """Scroll by pages: what a binding calls."""
        self._text.scroll_by(by * max(self._text.page - 1, 1))
