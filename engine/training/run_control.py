"""Decides whether the next step may run: pause, single steps, a speed limit, the end."""

from collections.abc import Callable
from math import inf, isfinite
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from engine.commands import Command
from engine.errors import ConfigError
from engine.states import RunState

OVER: Final = (RunState.FINISHED, RunState.DIVERGED, RunState.STOPPED)


class RunControl:
    """The state of a run, and the number of steps that it may still make before it pauses.

    `steps_left` returns the number of steps to the end of the current epoch.
    """

    def __init__(self, steps_left: Callable[[], int]) -> None:
        self.state = RunState.RUNNING
        self.speed_limit = 0.0  # steps per second; 0: none
        self._steps_left = steps_left
        self._granted = 0  # steps to make although the run is paused
        self._to_epoch = False  # whether it pauses at the end of this epoch
        self._last_step = -inf

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.state in OVER

    @property
    def waiting(self) -> bool:
        """Whether the run is paused, and waits for a command."""
        return self.state == RunState.PAUSED and not self._granted

    @property
    def may_pause(self) -> bool:
        """Whether the run may pause after the next step, which is therefore measured."""
        return bool(self._granted) or (self._to_epoch and self._steps_left() == 1)

    @staticmethod
    def refusal(command: Command) -> str:
        """Return why `command` cannot be applied, or ""."""
        good = isfinite(command.value) and command.value >= 0
        if command.kind == "speed" and not good:
            return f"a speed limit must not be negative, is {command.value:g} steps a second"
        return ""

    def apply(self, command: Command) -> dict[str, object]:
        """Apply a command; return the detail of its event. Raises ConfigError."""
        if refusal := self.refusal(command):
            raise ConfigError(refusal)
        detail: dict[str, object] = {}
        match command.kind:
            case "pause":
                # One more step, so that the statistics shown during the pause are current.
                self._go(RunState.PAUSED, int(self.state == RunState.RUNNING))
            case "resume":
                self._go(RunState.RUNNING)
            case "step":
                self._go(RunState.PAUSED, self._granted + 1)
            case "run_to_epoch":
                self._go(RunState.RUNNING)
                self._to_epoch = True
            case "speed":
                detail = {"value": command.value, "previous": self.speed_limit}
                self.speed_limit = command.value
            case "stop":
                self._go(RunState.STOPPED)
        return detail

    def end(self, state: RunState) -> None:
        """End the run in `state`, one of OVER."""
        self._go(state)

    def _go(self, state: RunState, granted: int = 0) -> None:
        self.state, self._granted, self._to_epoch = state, granted, False

    def wait(self, inbox: "SimpleQueue[Command]") -> Command | None:
        """Wait until the speed limit allows a step; return a command that came earlier.

        A step that was granted by a command runs at once.
        """
        if not self.speed_limit or self._granted:
            return None
        seconds = self._last_step + 1 / self.speed_limit - monotonic()
        try:
            return inbox.get(timeout=seconds) if seconds > 0 else None
        except Empty:
            return None

    def count_step(self, *, epoch_ended: bool) -> bool:
        """Count a step; return whether the run pauses because it was to run to this epoch's end."""
        self._granted = max(0, self._granted - 1)
        self._last_step = monotonic()
        arrived = self._to_epoch and epoch_ended
        if arrived:
            self._go(RunState.PAUSED)
        return arrived
