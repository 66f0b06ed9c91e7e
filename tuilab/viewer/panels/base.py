"""Panels of the dashboard: how one describes itself, and the widgets that draw lines of text.

A module of this package that defines a `PanelSpec` adds a panel: its tab, key, place, palette entry
and style follow from that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tuilab.charts.color_scales import painted
from tuilab.charts.text import Line, crop
from tuilab.viewer.action import Action
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore

Styles = Callable[[], dict[str, Style]]
Slot = Literal["upper", "lower"]
Topic = Literal[
    "state", "info", "series", "validations", "events", "snapshot",  # fields of Changes
    "claims", "others",
]  # fmt: skip
"""What can change of what a panel shows."""
ComparedTensors = Literal["both", "activation", "gradient"]
WAITING: Final = "waiting for the first statistics …"


@dataclass(frozen=True, slots=True)
class PanelContext:
    """What panels draw from: a run, those beside it, and the room that the dashboard gives."""

    store: RunStore
    claims: Claims = field(default_factory=Claims)
    others: Sequence[OtherRun] = ()
    compared: ComparedTensors | None = None  # tensors of all runs, side by side
    overview: bool = True  # all panels are on the screen; otherwise one alone
    row_height: int = 1  # lines that a layer takes
    charts: tuple[int, int] = (1, 1)  # columns and rows of the curves
    folding: Folding = field(default_factory=Folding)  # of the rows of layers


class Panel(Widget):
    """A panel of the dashboard."""

    def prepare(self, context: PanelContext) -> None:
        """Prepare for other room; called before `present`, and more often."""

    def present(self, context: PanelContext) -> None:
        """Show what `context` holds."""
        raise NotImplementedError


PanelKind = TypeVar("PanelKind", bound=Panel)


@dataclass(frozen=True, slots=True)
class PanelSpec(Generic[PanelKind]):
    """What the dashboard, tabs, keys, palette and help need to know of a panel.

    A panel without a `key` shares the tab of another one, in whose place it is shown while it is
    `in_use`.
    """

    name: str  # its id; also its tab, and the action that shows it alone
    order: int  # of the panels in a slot, from the left
    slot: Slot
    widget: Callable[[Styles], PanelKind]
    stale_on: frozenset[Topic]  # what must change for it to be drawn again
    key: str = ""
    help: str = ""
    tab: str = ""  # of which it is part; "": its own
    least: tuple[int, int] = (0, 0)  # size of a terminal from which the overview has it
    period: float = 0.0  # seconds between two drawings at least
    in_use: Callable[[PanelContext], bool] = lambda context: True
    actions: tuple[Action[PanelKind], ...] = ()  # on it, beside the one that shows it alone

    @property
    def of_tab(self) -> str:
        """The tab that it belongs to."""
        return self.tab or self.name


class LinesPanel(Panel):
    """Lines of spans, of which only those that change are repainted.

    `styles` returns the styles of roles in the current theme.
    """

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._styles = styles
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._base: Style | None = None  # the panel's own colours; None: not known yet
        self._width = 0  # of the strips
        self._redraw: Callable[[], None] | None = None

    @property
    def lines(self) -> list[Line]:
        """What is shown now."""
        return self._lines

    def draw_by(self, draw: Callable[[], None]) -> None:
        """Draw now, and again whenever the size changes."""
        self._redraw = draw
        if self.size.width:
            draw()

    def on_resize(self) -> None:
        """Draw at the new size."""
        if self._redraw is not None:
            self._redraw()

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
        """Switch to the colours of another theme."""
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
    """Lines of which some may be out of sight; keys and the wheel scroll."""

    @property
    def page(self) -> int:
        """How far a page down scrolls."""
        return max(self.content_size.height, 1)

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of lines, or of layers."""
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
    """Text that scrolls where it is longer than the panel."""

    def __init__(self, styles: Styles, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(styles, id=id)
        self._text: list[Line] = []
        self._start = 0

    def show_text(self, lines: Sequence[Line]) -> None:
        """Show as many of `lines` as fit, at the current scroll position."""
        self._text = list(lines)
        self._draw()

    def scroll_by(self, by: int) -> None:
        """Scroll down by a number of lines."""
        self._start += by
        self._draw()

    def _draw(self) -> None:
        width, height = self.content_size
        self._start = min(max(self._start, 0), max(len(self._text) - height, 0))
        more = len(self._text) - self._start - height
        self.border_subtitle = f"{more} more ↓" if more > 0 else ""
        self.show([crop(line, width) for line in self._text[self._start :][:height]])
