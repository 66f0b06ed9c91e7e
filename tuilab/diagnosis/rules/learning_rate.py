"""Steps that are too small or too large for the weights."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from tuilab.diagnosis.base import (
    DEEP,
    Rule,
    RuleContext,
    Symptom,
    initializer_advice,
    percent,
    rules,
)
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import FAR, Case, Fix, healthy_rate, initialize, set_rate
from tuilab.diagnosis.past import Past

DYING: Final = 0.8  # gain per layer below which the learning rate is not to blame
BLOCKED: Final = 0.9  # share of dead units in a layer above which hardly any gradient passes
FIX_SIGNAL: Final = "fix_signal"
"""Remedy where the signal fades from layer to layer, which a higher rate would not change."""
PROGRESS: Final = 0.98  # a loss below this share of the lowest so far is progress


def _median_ratio(seen: RuleContext) -> float:
    learning = [not layer.frozen for layer in seen.run.layers]
    ratios = seen.snapshot.update_ratio[learning]
    ratios = ratios[np.isfinite(ratios)]
    return float(np.median(ratios)) if ratios.size else math.nan


def _recent_windows(past: Past, epochs: int) -> int:
    """Return the number of windows in `epochs`, or in half of a run if that is fewer."""
    windows = past.windows_in(epochs)
    if past.run.total_steps:
        windows = min(windows, past.run.total_steps // (2 * past.window))
    return max(windows, 1)


def _stuck(past: Past, span: int) -> bool:
    """Return whether the loss is not yet low, and did not fall in the last windows."""
    if past.learned or len(past.loss) <= span:
        return False
    return bool(past.loss[-span:].min() > PROGRESS * past.loss[:-span].min())


@rules.register("low_learning_rate")
@dataclass(frozen=True)
class LowLearningRate(Rule):
    """The median update is a tiny part of the weights, or the loss stagnates over `epochs`.

    Not if the training data are learned, because gradients are small then; if dead units block the
    gradient; or if a schedule has lowered the rate. Lecture 6: about 1e-3 is healthy.
    """

    tensor: ClassVar = "update"
    update_ratio: float = 1e-4  # ‖ΔW‖ / ‖W‖ below which it is reported
    change: float = 1e-3  # of the loss, as a share, below which it is reported
    epochs: int = 3  # over which the loss is compared

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        past, ratio = seen.past, _median_ratio(seen)
        dead = seen.hidden(seen.snapshot.dead_fraction)
        if past.learned or past.rate_lowered or (dead > BLOCKED).any():
            return None
        advice, remedy = f"raise {seen.words.rate}", ""
        run, snapshot = seen.run, seen.snapshot
        if run.hidden >= DEEP and min(snapshot.gain_forward, snapshot.gain_backward) < DYING:
            remedy = FIX_SIGNAL
            advice = f"fix the fading signal first: {initializer_advice(run)}"
        if ratio < self.update_ratio * slack:
            cause = f"each update changes the weights by {percent(ratio)} (healthy: about 0.1 %)"
            return Symptom(
                "warning", ratio, self.update_ratio, "update_ratio", cause, advice, remedy=remedy
            )
        change = self._change(past)
        if change < self.change * slack:
            cause = f"the loss changed by {percent(change)} in {self.epochs} epochs"
            return Symptom("warning", change, self.change, "change", cause, advice, remedy=remedy)
        return None

    def _change(self, past: Past) -> float:
        """Return the relative change of the loss over the last epochs; infinite before."""
        span = past.windows_in(self.epochs) + 1
        if len(past.loss) < span:
            return math.inf
        last = past.loss[-span:]
        return float((last.max() - last.min()) / abs(last.mean()))

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        rate = healthy_rate(case, finding.measured if finding.key.endswith("update_ratio") else 0.0)
        return initialize(case) + rate if finding.remedy == FIX_SIGNAL else rate


@rules.register("high_learning_rate")
@dataclass(frozen=True)
class HighLearningRate(Rule):
    """The median update is a large part of the weights, or the loss jumps on a plateau.

    A ratio above `error` is always too much; above `warning`, only if the loss has not fallen for
    `epochs`: before batch normalisation, small weights take large steps, and the loss may rise for
    five epochs until they have grown. On a plateau, the loss varies by more than `oscillation`
    of its mean.
    """

    tensor: ClassVar = "update"
    warning: float = 1e-2  # ‖ΔW‖ / ‖W‖ from which it is a warning
    error: float = 1e-1  # ‖ΔW‖ / ‖W‖ from which it is an error
    oscillation: float = 0.05  # std of the loss over its mean
    epochs: int = 8  # without progress

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        past, ratio = seen.past, _median_ratio(seen)
        advice = f"lower {seen.words.rate}"
        span = _recent_windows(past, self.epochs)
        stuck = _stuck(past, span)
        cause = f"each update changes the weights by {percent(ratio)} (healthy: about 0.1 %)"
        if ratio > self.error / slack:
            return Symptom("error", ratio, self.error, "error", cause, advice)
        if stuck and ratio > self.warning / slack:
            cause += ", and the loss does not fall"
            return Symptom("warning", ratio, self.warning, "warning", cause, advice)
        last = past.loss[-span:]
        swing = float(last.std() / abs(last.mean())) if stuck else 0.0
        if swing > self.oscillation / slack:
            cause = f"the loss stays around {last.mean():.3g} and varies by {percent(swing)}"
            return Symptom("warning", swing, self.oscillation, "oscillation", cause, advice)
        return None

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        if finding.key.endswith("oscillation"):
            return set_rate(case, 1 / FAR)
        return healthy_rate(case, finding.measured)
