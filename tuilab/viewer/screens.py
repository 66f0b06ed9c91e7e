"""Modal screens: help, a hyper-parameter's value, and whether to stop a run when leaving."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import ConfigError
from engine.hyperparameters import check
from tuilab.viewer import formats
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.curves import KINDS

Choice = Literal["stop", "leave", "cancel"]

LEGEND: Sequence[tuple[str, str]] = (
    ("activation", "output of each layer's non-linearity; all hidden layers on one axis. Exact"
     " zeros are left out of the strip and counted in [b]zero[/]"),
    ("dL/dA", "gradient of the loss with respect to those activations; also one axis"),
    ("output", "the last row has an axis of its own, written beside its strip"),
    ("fwd →", "std of this layer's activations over that of the layer before; healthy 0.8…1.25"),
    ("← bwd", "std of this layer's dL/dA over that of the layer after it; healthy 0.8…1.25"),
    ("log₁₀ΔW/W", "size of one update against the weights; healthy −4…−2"),
    ("dead", "units silent over the last whole epoch; above 10 % a warning, 40 % an error"),
    ("sat.", "activations so flat that they pass next to no gradient on"),
    ("● ▲ ○ ▾", "above the curves: where findings began, by severity, and what keys changed; a"
     " number where several stand in one place. ▲ below them: a curve that leaves the chart"),
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


class ValueScreen(ModalScreen[float | None]):
    """A small field for a hyper-parameter; errors stand below it, the old value stays in force."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

    def __init__(self, key: str, current: float) -> None:
        super().__init__()
        self.key, self._current = key, current

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = in_words(self.key)
            box.border_subtitle = "enter: apply   esc: cancel"
            yield Static(f"now {formats.number(self._current)}", classes="muted")
            yield Input(placeholder=formats.number(self._current), id="value")
            yield Static("", id="wrong")

    def on_mount(self) -> None:
        """Go straight to the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong."""
        parsed = parse_value(self.key, event.value)
        self.query_one("#wrong", Static).update(parsed if isinstance(parsed, str) else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply a good value; keep asking otherwise."""
        parsed = parse_value(self.key, event.value)
        if isinstance(parsed, float):
            self.dismiss(parsed)
        else:
            self.query_one("#wrong", Static).update(parsed or "type a number, such as 0.01")

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class ChoiceScreen(ModalScreen[str | None]):
    """All hyper-parameters with their values, to choose one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

    def __init__(self, values: Mapping[str, float]) -> None:
        super().__init__()
        self._values = values

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = "hyper-parameters"
            box.border_subtitle = "enter: change   esc: cancel"
            yield OptionList(
                *(
                    Option(f"{in_words(key):<16}{formats.number(value)}", id=key)
                    for key, value in self._values.items()
                )
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answer with the key."""
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
        with Vertical(classes="dialog") as box:
            several = len(self._runs) > 1
            what, it = ("runs", "them") if several else ("run", "it")
            box.border_title = f"the {what} {'are' if several else 'is'} not finished"
            yield Static(f"[b $text-primary]s[/]    stop the {what} and leave")
            yield Static(f"[b $text-primary]l[/]    leave {it} running")
            for run in self._runs:
                yield Static(f"     come back with: tuilab attach {run}", classes="muted")
            yield Static("[b $text-primary]esc[/]  cancel")

    def action_choose(self, choice: Choice) -> None:
        """Answer."""
        self.dismiss(choice)


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
                for action in ACTIONS:
                    if action.section == section:
                        shown = action.shown.replace("[", "\\[").ljust(12 + (action.shown == "["))
                        yield Static(f"  [b $text-primary]{shown}[/]{action.help}")
            yield Static("[b]the numbers[/]")
            curves = ((kind.title.lower(), kind.help) for kind in KINDS)
            for name, meaning in (*LEGEND, *curves):
                with Horizontal(classes="entry"):
                    yield Static(f"  [b]{name}[/]", classes="term")
                    yield Static(meaning, classes="meaning")
