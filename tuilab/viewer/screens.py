"""Modal screens: help, the learning rate, and whether to stop a run when leaving."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tuilab.viewer import formats
from tuilab.viewer.actions import ACTIONS

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
    ("╌╌╌", "in the curves: the loss and accuracy of guessing"),
)  # fmt: skip


def parse_learning_rate(text: str) -> float | str:
    """Return the number, or what is wrong with it."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return f"'{text.strip()}' is not a number; try 0.01 or 1e-2" if text.strip() else ""
    if not math.isfinite(value) or value <= 0:
        return f"must be positive and finite, is {formats.number(value)}"
    return value


class LearningRateScreen(ModalScreen[float | None]):
    """A small field for a learning rate; errors stand below it, the old value stays in force."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c,ctrl+q", "cancel", "cancel")]

    def __init__(self, current: float | None) -> None:
        super().__init__()
        self._current = current

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = "learning rate"
            box.border_subtitle = "enter: apply   esc: cancel"
            now = formats.rate(self._current) if self._current else "unknown"
            yield Static(f"now {now}", classes="muted")
            yield Input(placeholder="0.01", id="rate")
            yield Static("", id="wrong")

    def on_mount(self) -> None:
        """Go straight to the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong."""
        parsed = parse_learning_rate(event.value)
        self.query_one("#wrong", Static).update(parsed if isinstance(parsed, str) else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply a good value; keep asking otherwise."""
        parsed = parse_learning_rate(event.value)
        if isinstance(parsed, float):
            self.dismiss(parsed)
        else:
            self.query_one("#wrong", Static).update(parsed or "type a number, such as 0.01")

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class LeaveScreen(ModalScreen[Choice]):
    """Asks what becomes of a run that goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "choose('stop')", "stop"),
        Binding("l", "choose('leave')", "leave"),
        Binding("escape,c,q,ctrl+c,ctrl+q", "choose('cancel')", "cancel"),
    ]

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        """Build the box."""
        with Vertical(classes="dialog") as box:
            box.border_title = "the run is not finished"
            yield Static("[b $text-primary]s[/]    stop the run and leave")
            yield Static("[b $text-primary]l[/]    leave it running")
            yield Static(f"     come back with: tuilab attach {self._run}", classes="muted")
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
            for name, meaning in LEGEND:
                with Horizontal(classes="entry"):
                    yield Static(f"  [b]{name}[/]", classes="term")
                    yield Static(meaning, classes="meaning")
