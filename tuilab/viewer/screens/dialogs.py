"""Modal screens: help, a field, a list to choose from, and what becomes of a run when leaving."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import ConfigError
from engine.optimization.hyperparameters import check
from tuilab.charts import formats
from tuilab.terminal import shell_command
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.curves import KINDS
from tuilab.viewer.panels.layer.views import help_lines

Choice = Literal["stop", "leave", "cancel"]
T = TypeVar("T")

LEGEND: Sequence[tuple[str, str]] = (
    ("activation", "output of each layer's non-linearity; all hidden layers on one axis. Exact"
     " zeros are left out of the strip and counted in [b]zero[/]"),
    ("dL/dA", "gradient of the loss with respect to those activations; also one axis"),
    ("output", "the last row has an axis of its own, written beside its strip"),
    ("fwd →", "std of this layer's activations over that of the layer before; healthy 0.8…1.25"),
    ("← bwd", "std of this layer's dL/dA over that of the layer after it; healthy 0.8…1.25"),
    ("log₁₀ΔW/W", "size of one update against the weights; healthy −4…−2"),
    ("dead", "units silent over the last whole epoch, – until one has ended; above 10 % a"
     " warning, 40 % an error"),
    ("sat.", "activations so flat that they pass next to no gradient on"),
    ("─▒█▒─", "percentiles: a box from 25 to 75 %, its median, whiskers to 5 and 95 %"),
    ("● ◇ ◆", "gain: measured, expected by theory of the first weights, both the same"),
    ("● ▲ ○ ▾ ◆", "above the curves: where findings began, by severity, what keys changed, and"
      " changes of the network or its batches; a number where several stand in one place. ▲ below"
      " them: a curve that leaves the chart"),
    ("❄", "a frozen layer: no update changes its parameters"),
    ("╌╌╌", "in the curves: the loss and accuracy of guessing"),
)  # fmt: skip


def parse_value(key: str, text: str) -> float | str:
    """Return the number that the hyper-parameter `key` shall take, or what is wrong with it."""
    try:
        value = float(text.strip().replace(",", "."))
        check(key, value)
    except ConfigError as error:
        return error.message
    except ValueError:
        return f"'{text.strip()}' is not a number; try 0.01 or 1e-2" if text.strip() else ""
    return value


def in_words(key: str) -> str:
    """Return a hyper-parameter's name as one says it."""
    return "ℓ₁ penalty" if key == "l1" else key.replace("_", " ")


class EntryScreen(ModalScreen[T | None]):
    """A small field for something typed; what is wrong with it stands below.

    `parse` returns what was typed, or what is wrong with it, "" where nothing is yet.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

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
        """Go straight to the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong."""
        parsed = self._parse(event.value)
        self.query_one("#wrong", Static).update(parsed if isinstance(parsed, str) else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply a good value; keep asking otherwise."""
        parsed = self._parse(event.value)
        if isinstance(parsed, str):
            self.query_one("#wrong", Static).update(parsed or f"type something, as {self._hint}")
        else:
            self.dismiss(parsed)

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class ValueScreen(EntryScreen[float]):
    """The field for a hyper-parameter; the old value stays in force until a good one is typed."""

    def __init__(self, key: str, current: float) -> None:
        now = formats.number(current)
        super().__init__(in_words(key), f"now {now}", partial(parse_value, key), hint=now)
        self.key = key


class ChoiceScreen(ModalScreen[str | None]):
    """A list to choose one of; answers with its id."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

    def __init__(self, title: str, options: Sequence[tuple[str, str]]) -> None:
        """Offer `options`: the id of each, and how it is written."""
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

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class LeaveScreen(ModalScreen[Choice]):
    """Asks what becomes of the runs that go on."""

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
                again = f"come back with: {shell_command('attach', run)}"
                yield Static(again, classes="below", markup=False)
            yield Static("[b $text-primary]esc[/]  cancel")

    def action_choose(self, choice: Choice) -> None:
        """Answer."""
        self.dismiss(choice)


def _entry(name: str, meaning: str, kind: str) -> Horizontal:
    """Return a line of the help; what is too long for it goes on below its beginning."""
    return Horizontal(
        Static(f"  {name}", classes=kind, markup=False),
        Static(meaning, classes="meaning", markup=False),
        classes="entry",
    )


class HelpScreen(ModalScreen[None]):
    """The table of actions, and what the numbers mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,ctrl+c,ctrl+q", "dismiss", "close")
    ]

    def compose(self) -> ComposeResult:
        """Build the box from the table."""
        with VerticalScroll(classes="dialog help") as box:
            box.border_title = "help"
            box.border_subtitle = "esc: close   ↑↓: scroll"
            for section, title in (("run", "the run"), ("tour", "the tour"), ("view", "the view")):
                yield Static(f"[b]{title}[/]")
                chosen = [action for action in ACTIONS if action.section == section]
                yield from (_entry(action.shown, action.help, "key") for action in chosen)
            yield Static("[b]the numbers[/]")
            curves = ((kind.title.lower(), kind.help) for kind in KINDS)
            yield from (_entry(name, meaning, "term") for name, meaning in (*LEGEND, *curves))
            yield Static("[b]one layer[/]")
            yield from (_entry(key, what, "key") for key, what in help_lines())
