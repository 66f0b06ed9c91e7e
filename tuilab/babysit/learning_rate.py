"""The learning rates that reduce the loss (claims E4–E7)."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from math import inf, isfinite, nan, sqrt
from typing import Final

import numpy as np

from engine.data.dataset import Examples
from engine.optimization.schedules import Constant
from engine.statistics.frames import Frame
from tuilab.babysit.check import (
    LOOK,
    Check,
    CheckResult,
    CheckVerdict,
    Interval,
    RateTrial,
    RateVerdict,
    Sweep,
)
from tuilab.babysit.subject import Subject
from tuilab.babysit.trials import ShortRun, affordable, train
from tuilab.diagnosis.rules.loss import EXPLODED

BATCH: Final = 500
"""Upper limit of the batch size."""
WORK, LEAST, MOST = 8e9, 30, 100
"""Multiplications per rate, and limits of the number of steps."""
LAST: Final = 5
"""Number of final steps whose mean loss is compared."""
HOPELESS: Final = 1.5
"""If the best rate leaves the loss above this multiple of guessing, the rate is not the cause."""
DECADES: Final = range(-7, 3)
WIDEST: Final = range(-9, 5)
BARELY: Final = 0.01
"""Share of the loss: a smaller decrease means that the rate is too low."""
CLEARLY: Final = 0.1
GOOD, STEADY = 0.5, 0.9
"""Share of the best decrease that a good rate reaches: below the best rate, and above it, where
the loss jumps."""


def check(subject: Subject) -> CheckResult:
    """Try learning rates over decades, and finer steps at both ends of the good range."""
    result = sweep(subject)
    own = next(trial for trial in result.trials if trial.rate == result.own)
    best = max((t.fall for t in result.trials if isfinite(t.fall)), default=nan)
    schedule = not isinstance(subject.scenario.schedule, Constant)
    verdict, meaning = _judge(own, best, result, schedule)
    return CheckResult(
        verdict,
        measured=result.own,
        shown=f"{result.own:g}: {_outcome(own)} in {result.steps} steps",
        expected="a rate that reduces the loss; there is none"
        if result.suggested is None
        else f"{result.suggested[0]:.1e} to {result.suggested[1]:.1e}",
        meaning=meaning,
        details={"fall": own.fall, "best_fall": best, "steps": result.steps},
        sweep=result,
    )


def _outcome(trial: RateTrial) -> str:
    if not isfinite(trial.fall):
        return "the loss explodes"
    direction = "falls" if trial.fall >= 0 else "rises"
    return f"the loss {direction} by {abs(trial.fall):.1%}"


class RateTester:
    """Trains with rates on the same batches from the same initial weights, once per rate."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._batch = subject, subject.batch_size(BATCH)
        probe = subject.trainer(subject.examples(self._batch), batch=self._batch, steps=1)
        self._steps = affordable(probe, WORK, LEAST, MOST)
        self._examples: Examples = subject.examples(self._batch * self._steps)
        self._trials: dict[float, ShortRun] = {}
        self.reference = self._train(0.0).loss
        """Loss of the initial weights on the same batches, so that their order has no effect."""

    def try_all(self, rates: Iterable[float]) -> None:
        """Train with all rates that were not tried yet."""
        for rate in rates:
            if rate not in self._trials:
                self._subject.progress(f"{rate:.2g}  ({len(self._trials) + 1} tried)")
                self._trials[rate] = self._train(rate)

    def _train(self, rate: float) -> ShortRun:
        trainer = self._subject.trainer(
            self._examples, batch=self._batch, steps=self._steps, rate=rate
        )
        return train(trainer, enough=self._exploded if rate else lambda frame: False)

    def _exploded(self, frame: Frame) -> bool:
        return bool(frame.data_loss[-1] > EXPLODED * np.mean(self.reference))

    def results(self) -> list[RateTrial]:
        """Return the trials of all rates in ascending order, judged relative to the best."""
        falls = [(rate, *self._fall(self._trials[rate])) for rate in sorted(self._trials)]
        finite = [(fall, rate) for rate, _, fall in falls if isfinite(fall)]
        best, best_rate = max(finite, default=(nan, nan))
        return [
            RateTrial(rate, loss, fall, _verdict(rate > best_rate, fall, best))
            for rate, loss, fall in falls
        ]

    @property
    def steps(self) -> int:
        """Steps per trial."""
        return self._steps

    def _fall(self, trial: ShortRun) -> tuple[float, float]:
        """Return the mean loss of the last steps and its decrease, or (inf, NaN) if it exploded."""
        if len(trial.loss) < self._steps or not trial.finite:
            return inf, nan
        end = float(np.mean(trial.loss[-LAST:]))
        return end, 1 - end / float(np.mean(self.reference[-LAST:]))


def _verdict(above_best: bool, fall: float, best: float) -> RateVerdict:
    if not isfinite(fall) or fall < -BARELY:
        return "too high"
    if fall < BARELY:
        return "too high" if above_best and best >= BARELY else "too low"
    if fall >= (STEADY if above_best else GOOD) * best:
        return "good"
    return "unsteady" if above_best else "slow"


def sweep(subject: Subject) -> Sweep:
    """Try decades, more decades until too low and too high are covered, and the edges."""
    tester = RateTester(subject)
    tester.try_all(10.0**k for k in DECADES)
    low, high = min(DECADES), max(DECADES)
    while tester.results()[-1].verdict != "too high" and high < WIDEST.stop:
        high += 1
        tester.try_all([10.0**high])
    while tester.results()[0].verdict != "too low" and low > WIDEST.start:
        low -= 1
        tester.try_all([10.0**low])
    tester.try_all(_between(tester.results(), inside=True))
    tester.try_all(_between(tester.results(), inside=False))
    tester.try_all([subject.rate])
    trials = tester.results()
    suggested = _suggested(trials)
    if min(t.loss for t in trials) > HOPELESS * subject.chance:
        suggested = None
    return Sweep(trials, suggested, subject.rate, float(np.mean(tester.reference)), tester.steps)


def _between(trials: Sequence[RateTrial], *, inside: bool) -> list[float]:
    """Return the geometric means of neighbours of which one is good; `inside`: or both are."""
    rates = []
    for one, other in pairwise(trials):
        good = (one.verdict == "good") + (other.verdict == "good")
        if good == 1 or (inside and good == 2):
            rates.append(sqrt(one.rate * other.rate))
    return rates


def _suggested(trials: Sequence[RateTrial]) -> Interval | None:
    """Return the lowest and highest rate of the consecutive good rates around the best."""
    good = [t for t in trials if t.verdict == "good"]
    if not good:
        return None
    best = max(good, key=lambda t: t.fall)
    rows = [list(row) for _, row in groupby(trials, key=lambda t: t.verdict == "good")]
    row = next(row for row in rows if best in row)
    return row[0].rate, row[-1].rate


def _judge(own: RateTrial, best: float, result: Sweep, scheduled: bool) -> tuple[CheckVerdict, str]:
    suggested, steps = result.suggested, result.steps
    if suggested is None:
        return "wrong", (
            f"In {steps} steps no learning rate reduces the loss below that of guessing, so the "
            "cause is not the rate: check the initial weights (layers that collapse or saturate) "
            "and the scale of the inputs."
        )
    middle = sqrt(suggested[0] * suggested[1])
    better = f"Choose one between {suggested[0]:.1e} and {suggested[1]:.1e}, such as {middle:.1e}"
    match own.verdict:
        case "good":
            return "good", f"{own.rate:g} is among the rates that reduce the loss fastest."
        case "slow":
            return LOOK, (
                f"{own.rate:g} learns slowly: the loss falls by {own.fall:.1%}, with the best rate "
                f"by {best:.1%}. "
                f"{better}."
            )
        case "unsteady":
            return (
                LOOK,
                f"With {own.rate:g} the loss jumps; smaller rates reach a lower loss. {better}.",
            )
        case "too low":
            clear = best >= CLEARLY
            return "wrong" if clear else LOOK, f"{own.rate:g} barely changes the loss. {better}."
        case "too high":
            if scheduled:
                return LOOK, (
                    f"{own.rate:g} is too high for the first steps, unless the schedule begins "
                    f"with a lower rate. {better}."
                )
            return "wrong", f"{own.rate:g} is too high: the loss rises or explodes. {better}."


CHECK: Final = Check("learning_rate", "learning rate", check)
