"""A line at the lower end of the screen to filter rows, which takes effect while it is typed."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class FilterScreen(ModalScreen[None]):
    """A field for a filter; `apply` is called with each text, and with "" by escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c,ctrl+q", "clear", "show all"),
    ]

    def __init__(self, pattern: str, apply: Callable[[str], None]) -> None:
        super().__init__()
        self._pattern, self._apply = pattern, apply

    def compose(self) -> ComposeResult:
        """Yield the line."""
        with Horizontal():
            yield Static("/")
            yield Input(self._pattern, placeholder="attn, or *.mlp.*", select_on_focus=False)
            yield Static("enter: keep   esc: show all", id="hint")

    def on_mount(self) -> None:
        """Focus the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._apply(event.value.strip())

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self.dismiss(None)

    def action_clear(self) -> None:
        """Show all rows."""
        self._apply("")
        self.dismiss(None)
