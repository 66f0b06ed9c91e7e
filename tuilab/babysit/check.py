"""What a step finds: a number, what was expected of it, and a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tuilab.babysit.subject import Subject

Verdict = Literal["good", "look at it", "wrong"]
Speed = Literal["too low", "slow", "good", "unsteady", "too high"]
Range = tuple[float, float]
LOOK: Final = "look at it"


@dataclass(frozen=True, slots=True)
class Tried:
    """A learning rate, and what the loss made of it."""

    rate: float
    loss: float  # at the end of the trial; not finite where it exploded
    fall: float  # share of the loss at the first weights that is gone; NaN where it exploded
    verdict: Speed


@dataclass(frozen=True, slots=True)
class Sweep:
    """Learning rates tried from the same first weights, in rising order."""

    tried: Sequence[Tried]
    suggested: Range | None  # None where none of them gets the loss down
    own: float  # the scenario's
    initial: float  # the loss at the first weights
    steps: int  # of each trial


@dataclass(frozen=True, slots=True)
class Check:
    """One step's outcome."""

    verdict: Verdict
    measured: float
    shown: str  # what was measured, in words: "2.542, accuracy 15.3%"
    expected: str  # "ln 10 = 2.303"
    meaning: str  # a sentence or two: what it means, and what to do
    details: Mapping[str, float] = field(default_factory=dict)
    sweep: Sweep | None = None

    @property
    def passed(self) -> bool:
        """Whether it is not wrong."""
        return self.verdict != "wrong"


@dataclass(frozen=True, slots=True)
class Step:
    """One check of the sequence: how machines and people call it, and how it is done."""

    name: str
    title: str
    run: Callable[[Subject], Check]
