"""Which learning rates get the loss down (claims E4–E7)."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from math import inf, isfinite, nan, sqrt
from typing import Final

import numpy as np

from engine.data.dataset import Examples
from engine.optimization.schedules import Constant
from engine.statistics.frames import Frame
from tuilab.babysit.check import LOOK, Check, Range, Speed, Step, Sweep, Tried, Verdict
from tuilab.babysit.subject import Subject
from tuilab.babysit.trials import ShortRun, affordable, train
from tuilab.diagnosis.rules.loss import EXPLODED

BATCH: Final = 500
"""A batch is no larger than this, whatever the scenario's."""
WORK, LEAST, MOST = 8e9, 30, 100
"""Multiplications a rate, and bounds of the steps that these pay for."""
LAST: Final = 5
"""Steps at the end whose mean loss is looked at."""
HOPELESS: Final = 1.5
"""A loss that stays above so many times chance under the best of rates is not the rate's fault."""
DECADES: Final = range(-7, 3)
WIDEST: Final = range(-9, 5)
BARELY: Final = 0.01
"""A smaller share of the loss gone is none to speak of: the rate is too low."""
CLEARLY: Final = 0.1
GOOD, STEADY = 0.5, 0.9
"""Share of what the best rate gains that a good one gains too: below it, and above it, where what
is lost is lost to jumps."""


def check(subject: Subject) -> Check:
    """Try learning rates over decades, and finely where the good ones begin and end."""
    found = sweep(subject)
    own = next(tried for tried in found.tried if tried.rate == found.own)
    best = max((t.fall for t in found.tried if isfinite(t.fall)), default=nan)
    schedule = not isinstance(subject.scenario.schedule, Constant)
    verdict, meaning = _judge(own, best, found, schedule)
    return Check(
        verdict,
        measured=found.own,
        shown=f"{found.own:g}: {_outcome(own)} in {found.steps} steps",
        expected="a rate that gets it down; there is none"
        if found.suggested is None
        else f"{found.suggested[0]:.1e} to {found.suggested[1]:.1e}",
        meaning=meaning,
        details={"fall": own.fall, "best_fall": best, "steps": found.steps},
        sweep=found,
    )


def _outcome(tried: Tried) -> str:
    if not isfinite(tried.fall):
        return "the loss explodes"
    way = "falls" if tried.fall >= 0 else "rises"
    return f"the loss {way} by {abs(tried.fall):.1%}"


class Bench:
    """Tries rates on the same batches from the same first weights, each once."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._batch = subject, subject.batch_size(BATCH)
        probe = subject.trainer(subject.examples(self._batch), batch=self._batch, steps=1)
        self._steps = affordable(probe, WORK, LEAST, MOST)
        self._examples: Examples = subject.examples(self._batch * self._steps)
        self._trials: dict[float, ShortRun] = {}
        self.reference = self._train(0.0).loss
        """What the first weights give on these batches; with it, no shuffle makes a difference."""

    def try_all(self, rates: Iterable[float]) -> None:
        """Train with each rate that has not been tried."""
        for rate in rates:
            if rate not in self._trials:
                self._subject.tell(f"{rate:.2g}  ({len(self._trials) + 1} tried)")
                self._trials[rate] = self._train(rate)

    def _train(self, rate: float) -> ShortRun:
        trainer = self._subject.trainer(
            self._examples, batch=self._batch, steps=self._steps, rate=rate
        )
        return train(trainer, enough=self._exploded if rate else lambda frame: False)

    def _exploded(self, frame: Frame) -> bool:
        return bool(frame.data_loss[-1] > EXPLODED * np.mean(self.reference))

    def tried(self) -> list[Tried]:
        """Return what became of every rate, in rising order, judged by the best of them."""
        falls = [(rate, *self._fall(self._trials[rate])) for rate in sorted(self._trials)]
        finite = [(fall, rate) for rate, _, fall in falls if isfinite(fall)]
        best, best_rate = max(finite, default=(nan, nan))
        return [Tried(*each, _speed(each[0] > best_rate, each[2], best)) for each in falls]

    @property
    def steps(self) -> int:
        """Steps of each trial."""
        return self._steps

    def _fall(self, trial: ShortRun) -> tuple[float, float]:
        """Return the mean loss of the last steps and its fall; NaN where it exploded."""
        if len(trial.loss) < self._steps or not trial.finite:
            return inf, nan
        end = float(np.mean(trial.loss[-LAST:]))
        return end, 1 - end / float(np.mean(self.reference[-LAST:]))


def _speed(above_best: bool, fall: float, best: float) -> Speed:
    if not isfinite(fall) or fall < -BARELY:
        return "too high"
    if fall < BARELY:
        return "too high" if above_best and best >= BARELY else "too low"
    if fall >= (STEADY if above_best else GOOD) * best:
        return "good"
    return "unsteady" if above_best else "slow"


def sweep(subject: Subject) -> Sweep:
    """Try decades, more of them where they do not reach from too low to too high, and the edges."""
    bench = Bench(subject)
    bench.try_all(10.0**k for k in DECADES)
    low, high = min(DECADES), max(DECADES)
    while bench.tried()[-1].verdict != "too high" and high < WIDEST.stop:
        high += 1
        bench.try_all([10.0**high])
    while bench.tried()[0].verdict != "too low" and low > WIDEST.start:
        low -= 1
        bench.try_all([10.0**low])
    bench.try_all(_between(bench.tried(), inside=True))
    bench.try_all(_between(bench.tried(), inside=False))
    bench.try_all([subject.rate])
    tried = bench.tried()
    suggested = _suggested(tried)
    if min(t.loss for t in tried) > HOPELESS * subject.chance:
        suggested = None
    return Sweep(tried, suggested, subject.rate, float(np.mean(bench.reference)), bench.steps)


def _between(tried: Sequence[Tried], *, inside: bool) -> list[float]:
    """Return the rates in the middle, by logarithm, of each edge of the good ones.

    And of each pair of good neighbours, if those `inside` are wanted too.
    """
    found = []
    for one, other in pairwise(tried):
        good = (one.verdict == "good") + (other.verdict == "good")
        if good == 1 or (inside and good == 2):
            found.append(sqrt(one.rate * other.rate))
    return found


def _suggested(tried: Sequence[Tried]) -> Range | None:
    """Return the lowest and the highest of the good rates in a row around the best."""
    good = [t for t in tried if t.verdict == "good"]
    if not good:
        return None
    best = max(good, key=lambda t: t.fall)
    rows = [list(row) for _, row in groupby(tried, key=lambda t: t.verdict == "good")]
    row = next(row for row in rows if best in row)
    return row[0].rate, row[-1].rate


def _judge(own: Tried, best: float, found: Sweep, scheduled: bool) -> tuple[Verdict, str]:
    suggested, steps = found.suggested, found.steps
    if suggested is None:
        return "wrong", (
            f"In {steps} steps no learning rate gets the loss down and near what chance gives, so "
            "it is not the rate: look at the first weights (layers that collapse or saturate) and "
            "the scale of the inputs."
        )
    middle = sqrt(suggested[0] * suggested[1])
    better = f"Take one between {suggested[0]:.1e} and {suggested[1]:.1e}, such as {middle:.1e}"
    match own.verdict:
        case "good":
            return "good", f"{own.rate:g} is among the rates that bring the loss down quickest."
        case "slow":
            return LOOK, (
                f"{own.rate:g} learns, but gains {own.fall:.1%} where the best gains {best:.1%}. "
                f"{better}."
            )
        case "unsteady":
            return LOOK, f"{own.rate:g} jumps: smaller ones get further. {better}."
        case "too low":
            clear = best >= CLEARLY
            return "wrong" if clear else LOOK, f"{own.rate:g} barely moves the loss. {better}."
        case "too high":
            if scheduled:
                return LOOK, (
                    f"{own.rate:g} is too high for the first steps; only a schedule that begins "
                    f"lower can make it good. {better}."
                )
            return "wrong", f"{own.rate:g} is too high: the loss rises or explodes. {better}."


STEP: Final = Step("learning_rate", "learning rate", check)
