"""A network that works can learn a few examples by heart (claim E3)."""

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from engine.data.dataset import Examples
from engine.statistics.frames import Frame
from tuilab.babysit.check import LOOK, Check, Step, Verdict
from tuilab.babysit.subject import Subject
from tuilab.babysit.trials import ShortRun, affordable, train

EXAMPLES: Final = 20
SEARCHED: Final = 2000
"""Training examples among which they are chosen."""
WORK, LEAST, MOST = 3e10, 100, 1000
"""Multiplications, and bounds of the steps that these pay for."""
NEAR_ZERO: Final = 0.01
"""Share of the loss that chance gives."""
RATES: Final = tuple(10.0**k for k in range(-6, 2))
TASTE: Final = 10
"""A rate is tried for one in so many of the steps."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A training on the few examples."""

    rate: float
    trial: ShortRun
    near_zero: float

    @property
    def loss(self) -> float:
        """The loss at the end; infinite where it is no number."""
        return float(self.trial.loss[-1]) + 0.0 if self.trial.finite else inf  # and not −0

    @property
    def accuracy(self) -> float:
        return float(self.trial.accuracy[-1])

    @property
    def known(self) -> bool:
        """Whether the examples are known by heart."""
        return self.accuracy == 1 and self.loss <= self.near_zero


def check(subject: Subject) -> Check:
    """Train on 20 examples without regularisation, until they are known or time is up.

    With the scenario's learning rate, and where that does not do, with the best of some decades.
    """
    examples = few(subject, EXAMPLES)
    trainer = subject.trainer(examples, batch=len(examples), steps=1, regularized=False)
    steps = affordable(trainer, WORK, LEAST, MOST)
    best = own = _attempt(subject, examples, subject.rate, steps)
    if not own.known:
        tastes = [_attempt(subject, examples, rate, steps // TASTE) for rate in RATES]
        rate = min(tastes, key=lambda attempt: attempt.loss).rate
        best = min(own, _attempt(subject, examples, rate, steps), key=lambda a: a.loss)
    verdict, meaning = _judge(best, own, steps)
    return Check(
        verdict,
        measured=best.loss,
        shown=f"loss {best.loss:.3g}, accuracy {best.accuracy:.1%} "
        f"after {len(best.trial.loss):,} steps",
        expected=f"loss below {best.near_zero:.2g}, accuracy 100 %, "
        f"on {len(examples)} examples within {steps:,} steps",
        meaning=meaning,
        details={
            "accuracy": best.accuracy,
            "learning_rate": best.rate,
            "steps": len(best.trial.loss),
            "examples": len(examples),
        },
    )


def few(subject: Subject, count: int) -> Examples:
    """Return up to `count` training examples of different inputs, the classes in turn."""
    drawn = subject.examples(SEARCHED)
    first = {x.tobytes(): row for row, x in reversed(list(enumerate(drawn.x)))}
    rows = np.array(sorted(first.values()))
    labels = drawn.y[rows]
    turn = np.empty(len(rows), np.int64)  # how many of its class come before it
    for label in np.unique(labels):
        of_class = labels == label
        turn[of_class] = np.arange(np.count_nonzero(of_class))
    chosen = rows[np.argsort(turn, kind="stable")[:count]]
    return Examples(drawn.x[chosen], drawn.y[chosen])


def _attempt(subject: Subject, examples: Examples, rate: float, steps: int) -> Attempt:
    subject.tell(f"learning rate {rate:g}")
    near_zero = NEAR_ZERO * subject.chance

    def known(frame: Frame) -> bool:
        return bool(frame.accuracy[-1] == 1 and frame.data_loss[-1] <= near_zero)

    trainer = subject.trainer(
        examples, batch=len(examples), steps=steps, rate=rate, regularized=False
    )
    return Attempt(rate, train(trainer, enough=known), near_zero)


def _judge(best: Attempt, own: Attempt, steps: int) -> tuple[Verdict, str]:
    other = "" if best is own else f" (the scenario's, {own.rate:g}, does not get there in time)"
    if best.known:
        return "good", (
            f"Network, loss and gradients can learn, with a learning rate of {best.rate:g}"
            + (other or ", the scenario's")
            + "."
        )
    if best.accuracy == 1:
        return LOOK, (
            f"All are right, but the loss stays above zero: {steps:,} steps at a learning rate of "
            f"{best.rate:g} may be too few."
        )
    return "wrong", (
        "What cannot learn so few examples by heart will learn nothing from many: look for first "
        "weights that are zero or far too large or small, too few units, dead units, inputs that "
        "are nearly alike, or a wrong gradient."
    )


STEP: Final = Step("overfit", "overfit 20 examples", check)
