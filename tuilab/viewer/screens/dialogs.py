"""Modal screens: help, a field for a value, a list of options, and how to leave."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Literal, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import ConfigError
from engine.optimization.hyperparameters import check
from tuilab.charts import formats
from tuilab.charts.symbols import (
    AS_EXPECTED,
    CHANGED,
    DEAD,
    DOWN,
    EXPECTED,
    FAILED,
    FROZEN,
    MEASURED,
    NOT_FINITE,
    OK,
    REBUILT,
    SATURATED,
    SEVERITIES,
    UP,
)
from tuilab.charts.text import Line, wrap
from tuilab.terminal import shell_command
from tuilab.viewer.action import Action
from tuilab.viewer.curves import KINDS
from tuilab.viewer.model.thresholds import Thresholds
from tuilab.viewer.panels.base import Styles, TextPanel
from tuilab.viewer.panels.layer.views import help_lines

Choice = Literal["stop", "leave", "cancel"]
T = TypeVar("T")
KEYS_WIDTH: Final = 14  # cells of the keys in the help
TERMS_WIDTH: Final = 18


def legend(thresholds: Thresholds) -> list[tuple[str, str]]:
    """Return what is on the screen, and what it means; for the thresholds of a run."""
    low, high = thresholds.healthy_gain
    slow, fast = (formats.log10(ratio) for ratio in thresholds.healthy_ratio)
    dead = thresholds.dead_units
    severities = " ".join(symbol.glyph for symbol in SEVERITIES.values())
    return [
        ("activation", "output of each layer's non-linearity; all hidden layers share an axis."
         " Exact zeros are left out of the strip and counted in zero"),
        ("dL/dA", "gradient of the loss with respect to those activations; also on one axis"),
        ("output", "the last row has a separate axis, noted beside its strip"),
        ("fwd →", "std of this layer's activations over that of the layer before; healthy:"
         f" {low:g}…{high:g}"),
        ("← bwd", "std of this layer's dL/dA over that of the layer after it; healthy:"
         f" {low:g}…{high:g}"),
        ("log₁₀ΔW/W", f"size of one update relative to the weights; healthy: {slow}…{fast}"),
        ("dead", "units silent for the last whole epoch, – before one has ended; a warning above"
         f" {dead.warning:.0%}, an error above {dead.error:.0%}"),
        ("sat.", "activations so flat that they pass on almost no gradient; a warning above"
         f" {thresholds.saturation.share:.0%}"),
        ("─▒█▒─", "percentiles: a box from 25 to 75 %, its median, whiskers to 5 and 95 %"),
        (f"{MEASURED.glyph} {EXPECTED.glyph} {AS_EXPECTED.glyph}",
         "gain: measured, predicted by theory for the first weights, both at once"),
        (severities, "a finding: error, warning, worth knowing; above the curves, where it began"),
        (f"{OK.glyph} {FAILED.glyph}", "as it should be, a claim that holds; one that does not"),
        (f"{CHANGED.glyph} {REBUILT.glyph}", "above the curves: a hyper-parameter changed; the"
         " network or its batches changed. A number counts markers in one place"),
        (NOT_FINITE.glyph, "NaN or infinite"),
        (f"{UP.glyph} {DOWN.glyph}", "at the edge of a chart: a curve leaves it"),
        (f"{DEAD.glyph} {SATURATED.glyph}", "units of one layer: dead, saturated"),
        (FROZEN.glyph, "a frozen layer: no update changes its parameters"),
        ("╌╌╌", "in the curves: loss and accuracy of guessing"),
    ]  # fmt: skip


def parse_value(key: str, text: str) -> float | str:
    """Return the number typed for the hyper-parameter `key`, or what is wrong with it."""
    try:
        value = float(text.strip().replace(",", "."))
        check(key, value)
    except ConfigError as error:
        return error.message
    except ValueError:
        return f"'{text.strip()}' is not a number; try 0.01 or 1e-2" if text.strip() else ""
    return value


def in_words(key: str) -> str:
    """Return the name of a hyper-parameter as users read it."""
    return "ℓ₁ penalty" if key == "l1" else key.replace("_", " ")


class Dialog(ModalScreen[T | None]):
    """A box that escape closes without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class EntryScreen(Dialog[T]):
    """A field for a value, with an error message below.

    `parse` returns the value of the text, or the error message, "" for an empty text.
    """

    def __init__(
        self, title: str, now: str, parse: Callable[[str], T | str], *, typed: str = "", hint: str
    ) -> None:
        super().__init__()
        self._heading, self._now, self._parse = title, now, parse
        self._typed, self._hint = typed, hint

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = self._heading
            box.border_subtitle = "enter: apply   esc: cancel"
            yield Static(self._now, classes="muted")
            yield Input(self._typed, placeholder=self._hint, id="value", select_on_focus=False)
            yield Static("", id="wrong")

    def on_mount(self) -> None:
        """Focus the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what is wrong while it is typed."""
        parsed = self._parse(event.value)
        self.query_one("#wrong", Static).update(parsed if isinstance(parsed, str) else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer with a valid value; otherwise show what is wrong."""
        parsed = self._parse(event.value)
        if isinstance(parsed, str):
            self.query_one("#wrong", Static).update(
                parsed or f"enter a value, such as {self._hint}"
            )
        else:
            self.dismiss(parsed)


class ValueScreen(EntryScreen[float]):
    """The field for a hyper-parameter."""

    def __init__(self, key: str, current: float) -> None:
        now = formats.number(current)
        super().__init__(in_words(key), f"now {now}", partial(parse_value, key), hint=now)
        self.key = key


class ChoiceScreen(Dialog[str]):
    """A list of options; answers with the id of the chosen one."""

    def __init__(self, title: str, options: Sequence[tuple[str, str]]) -> None:
        """Offer `options`: pairs of an id and a text."""
        super().__init__()
        self._heading, self._options = title, options

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = self._heading
            box.border_subtitle = "enter: choose   esc: cancel"
            yield OptionList(*(Option(text, id=key) for key, text in self._options), markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answer with the id."""
        self.dismiss(event.option_id)


class LeaveScreen(ModalScreen[Choice]):
    """Asks whether runs that have not ended are to be stopped or left running."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "choose('stop')", "stop"),
        Binding("l", "choose('leave')", "leave"),
        Binding("escape,c,q,ctrl+c,ctrl+q", "choose('cancel')", "cancel"),
    ]

    def __init__(self, runs: Sequence[str]) -> None:
        super().__init__()
        self._runs = runs

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog leave") as box:
            several = len(self._runs) > 1
            what, it = ("runs", "them") if several else ("run", "it")
            box.border_title = f"the {what} {'are' if several else 'is'} not finished"
            yield Static(f"[b $text-primary]s[/]    stop the {what} and leave")
            yield Static(f"[b $text-primary]l[/]    leave {it} running")
            for run in self._runs:
                again = f"return with: {shell_command('attach', run)}"
                yield Static(again, classes="below", markup=False)
            yield Static("[b $text-primary]esc[/]  cancel")

    def action_choose(self, choice: Choice) -> None:
        """Answer with the choice."""
        self.dismiss(choice)


def help_text(table: Sequence[Action[Any]], thresholds: Thresholds, cells: int) -> list[Line]:
    """Return the table of actions and what the numbers mean, wrapped to `cells`."""
    lines: list[Line] = []

    def section(title: str, entries: Iterable[tuple[str, str]], width: int, role: str) -> None:
        lines.append([(title, "bold")])
        for name, meaning in entries:
            line: Line = [(f"  {name:<{width - 2}}", role), (meaning, "muted")]
            lines.extend(wrap(line, cells, width))

    for name, title in (("run", "the run"), ("tour", "the tour"), ("view", "the view")):
        actions = [action for action in table if action.section == name]
        section(title, ((action.shown, action.help) for action in actions), KEYS_WIDTH, "key")
    curves = ((kind.title.lower(), kind.help) for kind in KINDS)
    section("the numbers", (*legend(thresholds), *curves), TERMS_WIDTH, "bold")
    section("one layer", help_lines(), KEYS_WIDTH, "key")
    return lines


class HelpScreen(ModalScreen[None]):
    """The table of actions, and what the numbers mean; drawn as lines, for it has hundreds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,ctrl+c,ctrl+q", "dismiss", "close"),
        Binding("up,k", "scroll(-1)", "up"),
        Binding("down,j", "scroll(1)", "down"),
        Binding("pageup", "page(-1)", "a page up"),
        Binding("pagedown,space", "page(1)", "a page down"),
        Binding("home", "scroll(-100000)", "start"),
        Binding("end", "scroll(100000)", "end"),
    ]

    def __init__(
        self, styles: Styles, actions: Sequence[Action[Any]], thresholds: Thresholds
    ) -> None:
        super().__init__()
        self._actions, self._thresholds = actions, thresholds
        self._panel = TextPanel(styles, id="help")
        self._panel.set_classes("dialog help")
        self._panel.border_title = "help   esc: close   ↑↓: scroll"

    def compose(self) -> ComposeResult:
        """Yield the box."""
        yield self._panel

    def on_mount(self) -> None:
        """Draw as soon as the size is known."""
        self._panel.draw_by(self._draw)

    def _draw(self) -> None:
        width = self._panel.content_size.width
        self._panel.show_text(help_text(self._actions, self._thresholds, width))

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self._panel.scroll_by(by)

    def action_page(self, by: int) -> None:
        """Scroll by pages."""
        self._panel.scroll_by(by * self._panel.page)
