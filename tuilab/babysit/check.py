"""A check, and its result: a measured value, the expected value, and a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tuilab.babysit.subject import Subject

CheckVerdict = Literal["good", "look at it", "wrong"]
RateVerdict = Literal["too low", "slow", "good", "unsteady", "too high"]
Interval = tuple[float, float]
LOOK: Final = "look at it"


@dataclass(frozen=True, slots=True)
class RateTrial:
    """A learning rate, and the loss after a short training with it."""

    rate: float
    loss: float  # at the end of the trial; not finite if it exploded
    fall: float  # decrease as a share of the initial loss; NaN if it exploded
    verdict: RateVerdict


@dataclass(frozen=True, slots=True)
class Sweep:
    """Learning rates tried from the same initial weights, in ascending order."""

    trials: Sequence[RateTrial]
    suggested: Interval | None  # None if no rate reduces the loss
    own: float  # the scenario's rate
    initial: float  # the loss with the initial weights
    steps: int  # per trial


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check."""

    verdict: CheckVerdict
    measured: float
    shown: str  # the measurement for people: "2.542, accuracy 15.3%"
    expected: str  # "ln 10 = 2.303"
    meaning: str  # one or two sentences: what it means, and what to do
    details: Mapping[str, float] = field(default_factory=dict)
    sweep: Sweep | None = None

    @property
    def passed(self) -> bool:
        """Whether the verdict is not "wrong"."""
        return self.verdict != "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the sequence: its name in JSON, its title for people, and its function."""

    name: str
    title: str
    run: Callable[[Subject], CheckResult]
