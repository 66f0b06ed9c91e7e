"""A working network can memorise a few examples (claim E3)."""

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from engine.data.dataset import Examples
from engine.statistics.frames import Frame
from tuilab.babysit.check import LOOK, Check, CheckResult, CheckVerdict
from tuilab.babysit.subject import Subject
from tuilab.babysit.trials import ShortRun, affordable, train

EXAMPLES: Final = 20
CANDIDATES: Final = 2000
"""Training examples from which they are chosen."""
WORK, LEAST, MOST = 3e10, 100, 1000
"""Multiplications, and limits of the number of steps."""
NEAR_ZERO: Final = 0.01
"""Share of the loss of guessing."""
RATES: Final = tuple(10.0**k for k in range(-6, 2))
SHORTER: Final = 10
"""Other rates are first tried for 1/SHORTER of the steps."""


@dataclass(frozen=True, slots=True)
class OverfitRun:
    """A training run on the few examples."""

    rate: float
    trial: ShortRun
    near_zero: float

    @property
    def loss(self) -> float:
        """The final loss; infinite if it is not finite."""
        return float(self.trial.loss[-1]) + 0.0 if self.trial.finite else inf  # avoids −0

    @property
    def accuracy(self) -> float:
        return float(self.trial.accuracy[-1])

    @property
    def memorised(self) -> bool:
        """Whether all examples are memorised."""
        return self.accuracy == 1 and self.loss <= self.near_zero


def check(subject: Subject) -> CheckResult:
    """Train on 20 examples without regularisation until they are memorised or time is up.

    With the scenario's learning rate; if that is not enough, with the best of several decades.
    """
    examples = few(subject, EXAMPLES)
    trainer = subject.trainer(examples, batch=len(examples), steps=1, regularized=False)
    steps = affordable(trainer, WORK, LEAST, MOST)
    best = own = _train(subject, examples, subject.rate, steps)
    if not own.memorised:
        tries = [_train(subject, examples, rate, steps // SHORTER) for rate in RATES]
        rate = min(tries, key=lambda run: run.loss).rate
        best = min(own, _train(subject, examples, rate, steps), key=lambda run: run.loss)
    verdict, meaning = _judge(best, own, steps)
    return CheckResult(
        verdict,
        measured=best.loss,
        shown=f"loss {best.loss:.3g}, accuracy {best.accuracy:.1%} "
        f"after {len(best.trial.loss):,} steps",
        expected=f"loss below {best.near_zero:.2g}, accuracy 100 % "
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
    """Return up to `count` training examples with distinct inputs, cycling through the classes."""
    drawn = subject.examples(CANDIDATES)
    first = {x.tobytes(): row for row, x in reversed(list(enumerate(drawn.x)))}
    rows = np.array(sorted(first.values()))
    labels = drawn.y[rows]
    turn = np.empty(len(rows), np.int64)  # index of an example within its class
    for label in np.unique(labels):
        of_class = labels == label
        turn[of_class] = np.arange(np.count_nonzero(of_class))
    chosen = rows[np.argsort(turn, kind="stable")[:count]]
    return Examples(drawn.x[chosen], drawn.y[chosen])


def _train(subject: Subject, examples: Examples, rate: float, steps: int) -> OverfitRun:
    subject.progress(f"learning rate {rate:g}")
    near_zero = NEAR_ZERO * subject.chance

    def memorised(frame: Frame) -> bool:
        return bool(frame.accuracy[-1] == 1 and frame.data_loss[-1] <= near_zero)

    trainer = subject.trainer(
        examples, batch=len(examples), steps=steps, rate=rate, regularized=False
    )
    return OverfitRun(rate, train(trainer, enough=memorised), near_zero)


def _judge(best: OverfitRun, own: OverfitRun, steps: int) -> tuple[CheckVerdict, str]:
    other = "" if best is own else f" (the scenario's, {own.rate:g}, does not within these steps)"
    if best.memorised:
        return "good", (
            f"Network, loss and gradients work: a learning rate of {best.rate:g}"
            + (other or ", the scenario's,")
            + " memorises the examples."
        )
    if best.accuracy == 1:
        return LOOK, (
            f"All examples are classified correctly, but the loss stays above zero: {steps:,} "
            f"steps with a learning rate of {best.rate:g} may be too few."
        )
    return "wrong", (
        "A network that cannot memorise a few examples will not learn from many. Look for initial "
        "weights that are zero, far too large or far too small, too few units, dead units, nearly "
        "identical inputs, or a wrong gradient."
    )


CHECK: Final = Check("overfit", "overfit 20 examples", check)
