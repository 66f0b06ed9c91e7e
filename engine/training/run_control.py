"""Whether the next step may be made, as commands say: pause, steps one by one, a speed limit."""

from collections.abc import Callable
from math import inf, isfinite
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from engine.commands import Command
from engine.errors import ConfigError

OVER: Final = ("finished", "diverged", "stopped")


class RunControl:
    """The state of a run, and how many of its steps may be made before it pauses.

    `steps_left` tells how many steps there are to the end of the epoch under way.
    """

    def __init__(self, steps_left: Callable[[], int]) -> None:
        self.state = "running"
        self.limit = 0.0  # steps a second; 0: none
        self._steps_left = steps_left
        self._granted = 0  # steps that are made although the run is paused
        self._to_epoch = False  # it pauses at the end of this epoch
        self._last_step = -inf

    @property
    def over(self) -> bool:
        """Whether no step will be made any more."""
        return self.state in OVER

    @property
    def resting(self) -> bool:
        """Whether the run is paused, and waits for a command."""
        return self.state == "paused" and not self._granted

    @property
    def watched(self) -> bool:
        """Whether it may rest after the next step, which so will be looked at."""
        return bool(self._granted) or (self._to_epoch and self._steps_left() == 1)

    @staticmethod
    def refusal(command: Command) -> str:
        """Return why `command` cannot be applied, or ""."""
        good = isfinite(command.value) and command.value >= 0
        if command.kind == "speed" and not good:
            return f"a speed limit must not be negative, is {command.value:g} steps a second"
        return ""

    def apply(self, command: Command) -> dict[str, object]:
        """Do what a command says; return what there is to tell of it. Raises ConfigError."""
        if refusal := self.refusal(command):
            raise ConfigError(refusal)
        detail: dict[str, object] = {}
        match command.kind:
            case "pause":
                # One step more, so that what is shown while it rests is of now.
                self._go("paused", int(self.state == "running"))
            case "resume":
                self._go("running")
            case "step":
                self._go("paused", self._granted + 1)
            case "run_to_epoch":
                self._go("running")
                self._to_epoch = True
            case "speed":
                detail = {"value": command.value, "previous": self.limit}
                self.limit = command.value
            case "stop":
                self._go("stopped")
        return detail

    def end(self, state: str) -> None:
        """Make no step any more."""
        self._go(state)

    def _go(self, state: str, granted: int = 0) -> None:
        self.state, self._granted, self._to_epoch = state, granted, False

    def wait(self, inbox: "SimpleQueue[Command]") -> Command | None:
        """Wait until a step may be made by the speed limit; return a command that came earlier.

        A step that was asked for by itself is made at once.
        """
        if not self.limit or self._granted:
            return None
        seconds = self._last_step + 1 / self.limit - monotonic()
        try:
            return inbox.get(timeout=seconds) if seconds > 0 else None
        except Empty:
            return None

    def step_made(self, *, epoch_ended: bool) -> bool:
        """Count a step; tell whether the run has come to the end that it was to run to."""
        self._granted = max(0, self._granted - 1)
        self._last_step = monotonic()
        arrived = self._to_epoch and epoch_ended
        if arrived:
            self._go("paused")
        return arrived
