"""What the objects that act for keys need of the app: the run that is shown, and its screens."""

from collections.abc import Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from rich.style import Style
from textual.screen import Screen

from tuilab.process.launch import Worker
from tuilab.viewer.dashboard import Dashboard
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.session import Session

Answer = TypeVar("Answer")
P = ParamSpec("P")


class Host(Protocol):
    """The app, as the objects see it that it hands keys and messages to."""

    @property
    def store(self) -> RunStore:
        """The record of the run that is shown; another one after `switch_to`."""

    @property
    def session(self) -> Session:
        """All runs of the view."""

    @property
    def dashboard(self) -> Dashboard:
        """The panels of the main screen."""

    @property
    def screen(self) -> Screen[Any]:
        """The screen on top."""

    @property
    def role_styles(self) -> dict[str, Style]:
        """The styles of roles in the current theme."""

    def switch_to(self, worker: Worker) -> None:
        """Show another run."""

    def push_screen(
        self, screen: Screen[Answer], callback: Callable[[Answer | None], None] | None = None
    ) -> object:
        """Put a screen on top; `callback` takes what it is dismissed with."""

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        timeout: float | None = None,
        severity: Literal["information", "warning", "error"] = "information",
    ) -> None:
        """Show a message for a while."""

    def exit(self, result: Worker | None = None) -> None:
        """End the view; the run that was shown is the result."""

    def call_from_thread(
        self, callback: Callable[P, object], *args: P.args, **settings: P.kwargs
    ) -> object:
        """Call a function in the thread of the app."""
