"""The loss: where it starts, whether it explodes, and whether it starts to fall late."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from tuilab.diagnosis.base import Rule, RuleContext, Symptom, initializer_advice, percent, rules
from tuilab.diagnosis.finding import Finding, Severity
from tuilab.diagnosis.fixes import FAR, Case, Fix, initialize, set_hyperparameter, set_rate

EXPLODED: Final = 3.0
"""The lecture's limit: a loss above 3 times the first one is not heading the right way."""


@rules.register("initial_loss")
@dataclass(frozen=True)
class InitialLoss(Rule):
    """The first data loss is not that of guessing, ln C with a softmax (lecture 6, sanity checks).

    Scores with a spread raise it by about ½·std², which is harmless for a std near 1, such as He
    initialisation gives. It is an info if the loss differs by more than the share `off`, and a
    warning from a factor of `warning` on, in either direction.
    """

    at_start: ClassVar = True
    only_at_start: ClassVar = True
    off: float = 0.1  # difference, as a share, from which it is reported
    warning: float = 2.0  # factor from which it is a warning

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        loss, guess = seen.past.first_data_loss, seen.run.guessing_loss
        if not (guess > 0 and math.isfinite(loss) and abs(loss - guess) > self.off * guess):
            return None
        ratio = loss / guess
        far = not 1 / self.warning <= ratio <= self.warning
        severity: Severity = "warning" if far else "info"
        std = float(seen.snapshot.field("pre_activation", "std")[-1])
        cause = f"the first loss is {loss:.3g}; guessing would give {guess:.3g}; "
        cause += f"the scores have a std of {std:.2g}"
        if ratio < 1:
            advice = "check the labels and the loss: without training, nothing beats guessing"
        elif far:
            advice = f"weights start too large: {initializer_advice(seen.run)}"
        else:
            advice = "a smaller scale in the output layer would start closer to it"
        if far:
            return Symptom(severity, ratio, self.warning, "warning", cause, advice)
        return Symptom(severity, abs(ratio - 1), self.off, "off", cause, advice)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        return initialize(case) if finding.measured > 1 else []


@rules.register("exploding_loss")
@dataclass(frozen=True)
class ExplodingLoss(Rule):
    """The loss, averaged over a window, exceeds a multiple of the first one (lecture 6)."""

    moment: ClassVar = "window"
    times: float = EXPLODED  # the first loss

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        now, first = seen.past.loss[-1], seen.past.first_loss
        if not now > self.times / slack * first:
            return None
        ratio = float(now / first)
        cause = f"the loss is {now:.3g}, {ratio:.3g} times its first value {first:.3g}"
        advice = f"lower {seen.words.rate} and restart; {seen.words.clip} limits it"
        return Symptom("error", ratio, self.times, "times", cause, advice)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        clip = set_hyperparameter(case, "clip_norm", 1.0, "optimizer.clip_norm")
        return set_rate(case, 1 / FAR) + clip


@rules.register("late_start")
@dataclass(frozen=True)
class LateStart(Rule):
    """The loss stays within `flat` of its first value for a share `of_run`, then falls by `fall`.

    "Flat for a while, then it trains: bad initialisation" (lecture 6). Flat for at least `steps`: a
    healthy network also needs some steps to show progress, more with momentum.
    """

    moment: ClassVar = "window"
    of_run: float = 0.1  # share of the run
    flat: float = 0.01  # largest change that counts as none, as a share
    fall: float = 0.2  # by which the loss must have fallen since, as a share
    steps: int = 30  # for which it must have been flat

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        loss, window = seen.past.data_loss, seen.past.window
        if not seen.run.total_steps:
            return None
        moved = np.abs(loss - loss[0]) > self.flat * loss[0]
        steps = window * (int(np.argmax(moved)) if moved.any() else len(loss))
        share = steps / seen.run.total_steps
        if share < self.of_run or steps < self.steps or not loss.min() <= (1 - self.fall) * loss[0]:
            return None
        cause = f"the loss stayed at {loss[0]:.3g} for the first {percent(share)} of the run"
        return Symptom("warning", share, self.of_run, "of_run", cause, initializer_advice(seen.run))

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        return initialize(case)
