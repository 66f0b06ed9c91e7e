"""The list of scenarios by chapter, to choose one from."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tuilab.charts.symbols import FAILED, OK
from tuilab.scenario.catalog import Entry, chapters
from tuilab.viewer.model.tour import Tour
from tuilab.viewer.terminal.appearance import Appearance, TuilabApp

MARKS = {
    True: Content.styled(f"{OK.glyph} ", "bold $text-success"),
    False: Content.styled(f"{FAILED.glyph} ", "bold $text-error"),
    None: Content("  "),
}
KEYS = (("enter", "run it"), ("↑ ↓", "choose"), ("pgup pgdn", "a page"))


class Scenarios(OptionList):
    """The list; a page up at its top stays on the first scenario."""

    def action_page_up(self) -> None:
        """Go a page up, but not to a heading, where Textual would highlight nothing."""
        super().action_page_up()  # type: ignore[no-untyped-call]
        if self.highlighted is None:
            self.action_first()


class PickerScreen(Screen[Entry | None]):
    """Lists chapters and scenarios with their questions, and details of the highlighted one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,t,ctrl+c,ctrl+q", "leave", "leave"),
        Binding("j", "move(1)", "down"),
        Binding("k", "move(-1)", "up"),
    ]

    def __init__(self, tour: Tour, *, leaving: str) -> None:
        """Show `tour`; `leaving` is the label of the key that chooses nothing."""
        super().__init__(id="picker")
        self._tour, self._leaving = tour, leaving

    def compose(self) -> ComposeResult:
        """Yield the list, and the details of one scenario below it."""
        yield Static(self._heading(), id="picker-head")
        yield Scenarios(*self._options(), id="scenarios")
        with VerticalScroll(id="about", can_focus=False):
            yield Static(id="about-text")
        yield Static(self._keys(), id="picker-keys")

    def on_mount(self) -> None:
        """Highlight the current scenario of the tour."""
        scenarios = self.query_one(OptionList)
        scenarios.focus()
        scenarios.highlighted = scenarios.get_option_index(str(self._tour.at))

    def _heading(self) -> Content:
        count = len(self._tour.entries)
        return Content.assemble(
            ("Training Neural Networks I", "bold"),
            (f"   the lecture as a tour of {count} scenarios", "$foreground 60%"),
        )

    def _keys(self) -> Content:
        return Content("  ").join(
            Content.assemble((key, "bold $text-primary"), (f" {label}", "$foreground 60%"))
            for key, label in (*KEYS, ("esc", self._leaving))
        )

    def _options(self) -> list[Option]:
        options: list[Option] = []
        width = max(len(entry.name) for entry in self._tour.entries)
        places = {entry.path: place for place, entry in enumerate(self._tour.entries)}
        for chapter, group in chapters(self._tour.entries):
            heading = Content.styled(chapter[:1].upper() + chapter[1:], "bold $text-accent")
            options.append(Option(heading, disabled=True))
            for entry in group:
                row = self._row(entry, width)
                options.append(Option(row, id=str(places[entry.path])))
        return options

    def _row(self, entry: Entry, width: int) -> Content:
        usable = not self._tour.obstacle(entry)
        return Content.assemble(
            MARKS[self._tour.results.get(entry.name)],
            (f"{entry.name:<{width}}", "bold" if usable else "$foreground 45%"),
            (f"  {entry.question or entry.title}", f"$foreground {70 if usable else 45}%"),
        )

    def _about(self, entry: Entry) -> Content:
        parts = [Content.styled(entry.question or entry.title or entry.name, "bold")]
        if obstacle := self._tour.obstacle(entry):
            parts.append(Content.styled(obstacle, "$text-warning"))
        if entry.look_at:
            parts.append(Content.assemble(("look at  ", "$text-accent"), entry.look_at))
        parts += [Content.assemble(("claim  ", "$text-primary"), text) for text in entry.claims]
        return Content("\n").join(parts)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the details of the highlighted scenario."""
        if event.option_id is not None:
            self.query_one("#about-text", Static).update(self._about(self._entry(event.option_id)))
            self.query_one("#about").scroll_home(animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Choose a scenario, if it can be run here."""
        assert event.option_id is not None  # headings cannot be selected
        entry = self._entry(event.option_id)
        if obstacle := self._tour.obstacle(entry):
            self.notify(obstacle, title=f"{entry.name} cannot be run", severity="warning")
        else:
            self.dismiss(entry)

    def _entry(self, option: str) -> Entry:
        return self._tour.entries[int(option)]

    def action_move(self, by: int) -> None:
        """Move by one scenario, as the arrows do."""
        scenarios = self.query_one(OptionList)
        (scenarios.action_cursor_down if by > 0 else scenarios.action_cursor_up)()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)


class PickerApp(TuilabApp[Entry | None]):
    """The list, before there is a run to show."""

    CSS_PATH = "../tuilab.tcss"
    TITLE = "tuilab"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, tour: Tour, appearance: Appearance | None = None) -> None:
        super().__init__(appearance)
        self._tour = tour

    def on_mount(self) -> None:
        """Show the list, and leave with the chosen scenario."""
        self.push_screen(PickerScreen(self._tour, leaving="leave"), self.exit)


def pick(tour: Tour, appearance: Appearance | None = None) -> Entry | None:
    """Let the user choose a scenario, and make it the current one of `tour`."""
    entry = PickerApp(tour, appearance).run(mouse=appearance is None or appearance.mouse)
    if entry is not None:
        tour.go_to(entry)
    return entry
