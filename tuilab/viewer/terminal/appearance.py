"""What all apps share: themes, glyphs, the mode without colours, and remembered settings."""

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter, Monochrome, NoColor
from textual.screen import Screen
from textual.widget import Widget

from tuilab.terminal import has_hung_up, is_terminal
from tuilab.viewer.model.settings import Memory, Settings
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.terminal.glyphs import GLYPHS, Glyphs, detect, translate
from tuilab.viewer.terminal.terminal_diff import Screenful
from tuilab.viewer.terminal.theme import THEMES, plain_styles, role_styles

Result = TypeVar("Result")

CONTRAST: Final = 0.25  # of brightness: a background that differs by more is shown reversed
BROWSER_PERIOD: Final = 1.0  # seconds between two checks that the server is still there


@dataclass(frozen=True, slots=True)
class Appearance:
    """Options for one view; None: as remembered in the settings."""

    theme: str | None = None
    glyphs: Glyphs | None = None
    colours: bool | None = None
    mouse: bool = True


REPRODUCIBLE: Final = Appearance(theme=THEMES[0].name, glyphs="braille", colours=True)
"""For pictures, which are the same wherever they are drawn."""


class Translated(LineFilter):
    """Translates all output, of panels, borders and dialogs, into other glyphs."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__()
        self.glyphs = glyphs

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return a line with its text translated."""
        return [Segment(translate(s.text, self.glyphs), s.style, s.control) for s in segments]


class Uncoloured(LineFilter):
    """Removes all colours; text on a coloured background is reversed."""

    # Textual's own filter for NO_COLOR writes shades of grey, which are colours to a terminal.

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return a line without colours."""
        return [
            Segment(s.text, s.style and _uncoloured(s.style, background), s.control)
            for s in segments
        ]


@lru_cache(1024)
def _uncoloured(style: Style, background: Color) -> Style:
    ground = style.bgcolor
    plain = style.without_color
    if ground is None or ground.is_default:
        return plain
    distance = abs(Color.from_rich_color(ground).brightness - background.brightness)
    return plain + Style(reverse=True) if distance >= CONTRAST else plain


def _shown() -> Glyphs:
    """Return the glyphs that the terminal shows; a browser shows all of them."""
    return detect(stream=sys.__stderr__) if is_terminal(sys.__stderr__) else "braille"


class TuilabApp(App[Result]):
    """An app with themes, glyphs and remembered settings."""

    def __init__(self, appearance: Appearance | None = None) -> None:
        super().__init__()
        options = appearance or Appearance()
        self.role_styles: dict[str, Style] = {}
        self.animation_level = "none"
        self._screenful = Screenful()
        self._memory = Memory()
        colours = not os.environ.get("NO_COLOR") if options.colours is None else options.colours
        self.no_color = not colours
        self._uncoloured = Uncoloured()
        self._translated = {glyphs: Translated(glyphs) for glyphs in GLYPHS}
        self.glyphs: Glyphs = options.glyphs or self.settings.glyphs or _shown()
        for theme in THEMES:
            self.register_theme(theme)
        theme_name = options.theme or self.settings.theme
        self.theme = theme_name if theme_name in self.available_themes else THEMES[0].name

    def run(self, *args: Any, **settings: Any) -> Result | None:
        """Run the app until its user leaves.

        Frames make many objects and hardly any cyclic garbage: collecting as often as Python does
        by default takes a twelfth of the view's time. `gc.freeze` would keep what an earlier app
        left behind; a higher threshold would let the remains of dialogs pile up.
        """
        gc.set_threshold(10_000, 10, 10)
        return super().run(*args, **settings)

    @property
    def settings(self) -> Settings:
        """The remembered settings."""
        return self._memory.settings

    def remember(self, **chosen: object) -> None:
        """Remember settings, fields of `Settings`, for the next view."""
        self._memory.remember(**chosen)
        self._notify_problem()

    def _notify_problem(self) -> None:
        if self._memory.problem:
            self.notify(self._memory.problem, title="settings", severity="warning")

    def notify(self, message: str, *, title: str = "", timeout: float | None = None,
               **rest: Any) -> None:  # fmt: skip
        """Show a message for a while, in place of the same one if that is on the screen."""
        for shown in [*self._notifications]:
            if (shown.title, shown.message) == (title, message):
                self._unnotify(shown, refresh=False)
        super().notify(message, title=title, timeout=timeout, **rest)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the filters of all lines on their way to the terminal."""
        theirs = super().get_line_filters()
        colours = [own for own in theirs if not isinstance(own, Monochrome | NoColor)]
        if self.no_color:
            colours = [self._uncoloured]
        return [*colours, *([self._translated[self.glyphs]] if self.glyphs != "braille" else [])]

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send only what differs from what the terminal shows.

        Textual has no public hook between the compositor and the driver.
        """
        super()._display(screen, self._screenful.update(renderable))

    def on_mount(self) -> None:
        """Apply the colours, now and whenever another theme is chosen."""
        self._restyle()
        self.theme_changed_signal.subscribe(self, lambda theme: self._changed(theme.name))
        self._notify_problem()
        if self.is_web:
            self.set_interval(BROWSER_PERIOD, self._leave_with_server)

    def _leave_with_server(self) -> None:
        """Leave if the server was killed: nobody else can close this view."""
        if has_hung_up(sys.__stdin__):
            self.exit()

    def _changed(self, theme: str) -> None:
        self._restyle()
        self.remember(theme=theme)

    def _restyle(self) -> None:
        styles = role_styles(self.theme_variables)
        self.role_styles = plain_styles(styles) if self.no_color else styles
        for screen in self.screen_stack:
            for panel in screen.query(LinesPanel):
                panel.restyle()

    def action_cycle_theme(self) -> None:
        """Switch to the next theme: what a binding calls."""
        self.cycle_theme()

    def action_cycle_glyphs(self) -> None:
        """Draw in other characters: what a binding calls."""
        self.cycle_glyphs()

    def cycle_theme(self) -> None:
        """Switch to the next of tuilab's themes."""
        names = [theme.name for theme in THEMES]
        place = names.index(self.theme) + 1 if self.theme in names else 0
        self.theme = names[place % len(names)]
        self.notify(f"theme: {self.theme}", timeout=2)

    def cycle_glyphs(self) -> None:
        """Draw in other characters."""
        self.glyphs = GLYPHS[(GLYPHS.index(self.glyphs) + 1) % len(GLYPHS)]
        self.remember(glyphs=self.glyphs)
        for screen in self.screen_stack:
            for widget in screen.walk_children():
                if isinstance(widget, Widget):
                    widget.refresh()
        self.notify(f"characters: {self.glyphs}", timeout=2)
