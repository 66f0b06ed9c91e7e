"""When a watcher measures: at which steps the statistics are worth their cost."""

from math import ceil
from time import perf_counter
from typing import Final, Literal, TypeAlias

from engine.errors import ConfigError

Every: TypeAlias = float | int | Literal["never"]
"""A share of the training time below 1, a number of steps from 1 on, or "never": on request."""
SHARE: Final = 0.03
SHORTEST: Final = 0.1  # seconds between two snapshots: no eye follows more
REMEMBERED: Final = 0.9  # of the mean duration of a step that is not measured, at each of them


def checked(every: Every) -> Every:
    """Return `every` if it has a meaning. Raises ConfigError."""
    if every == "never":
        return every
    number = isinstance(every, int | float) and not isinstance(every, bool)
    if number and (0 < every < 1 or (every >= 1 and every == int(every))):
        return every
    raise ConfigError(
        'must be a share of the time (0.03), a whole number of steps (100) or "never",'
        f" is {every!r}",
        "every",
    )


class Cadence:
    """Decides after each step whether the next is measured; step 0 always is, unless "never".

    With a share of the time, what a measured step costs more than the others is spread over the
    time until the next. `arm` asks for one more step.
    """

    def __init__(self, every: Every = SHARE) -> None:
        self.every = checked(every)
        self.slowed = False
        """Whether a measured step does without compiled code. Otherwise its duration says nothing
        of its cost: a program may do other things between its steps."""
        self._asked = 0
        self._cost = self._elapsed = self._recording = 0.0  # seconds
        self._plain = float("nan")  # mean duration of a step that was not measured
        self._next = 0.0  # when the next may be measured
        self._last = perf_counter()

    @property
    def cost_share(self) -> float:
        """The share of the time since the start that measuring took."""
        return self._cost / self._elapsed if self._elapsed else float("nan")

    @property
    def asked(self) -> bool:
        """Whether `arm` has asked for the next step."""
        return self._asked > 0

    def pass_over(self) -> None:
        """Leave the time since the last step out: the program was made to wait."""
        self._last = perf_counter()

    def arm(self, steps: int = 1) -> None:
        """Measure the next `steps` steps, whatever they cost."""
        self._asked = max(self._asked, steps)

    def recorded(self, seconds: float) -> None:
        """Count time that another thread took to record: as a cost of the next measured step."""
        self._recording += seconds

    def first(self) -> bool:
        """Return whether step 0 is measured."""
        self._last = perf_counter()
        return self.every != "never" or bool(self._asked)

    def after(self, step: int, measured: bool, spent: float) -> bool:
        """Return whether the step after `step`, from 0, is measured.

        `spent` is the time in seconds that the watcher itself used in `step`. Where measured steps
        are `slowed`, what else they cost is taken from their duration.
        """
        now = perf_counter()
        duration, self._last = now - self._last, now
        self._elapsed += duration
        cost = spent
        if measured:
            if self.slowed and step and duration > self._plain:
                cost = max(spent, min(duration - self._plain, duration))
            self._asked = max(0, self._asked - 1)
            cost += self._recording
            self._recording = 0.0
            if isinstance(self.every, float) and self.every < 1:
                self._next = now + max(SHORTEST, cost / self.every)
        else:
            past = self._plain if self._plain == self._plain else duration
            self._plain = REMEMBERED * past + (1 - REMEMBERED) * duration
        self._cost += cost
        return bool(self._asked) or self._due(step + 1, now)

    def steps_in(self, seconds: float) -> int:
        """Return how many steps are made in some time, at least 1: as far as is known."""
        known = self._plain == self._plain and self._plain > 0
        return max(1, ceil(seconds / self._plain)) if known else 1

    def next_step(self, step: int) -> int | None:
        """Return which step after `step` is to be measured next; None if there is none.

        With a share of the time, this is an estimate by the duration of steps; None before there
        is one.
        """
        if self._asked:
            return step + 1
        if self.every == "never":
            return None
        if self.every >= 1:
            return (step // int(self.every) + 1) * int(self.every)
        known = self._plain == self._plain
        return step + self.steps_in(self._next - perf_counter()) if known else None

    def _due(self, step: int, now: float) -> bool:
        if self.every == "never":
            return False
        if self.every >= 1:
            return step % int(self.every) == 0
        return now >= self._next
