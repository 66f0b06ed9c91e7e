"""Training and validation accuracy that are far apart, or both low."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from engine.statistics.frames import hidden_layers
from tuilab.diagnosis.base import Rule, RuleContext, Symptom, percent, rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import Case, Fix, set_hyperparameter
from tuilab.diagnosis.past import SMOOTHED, Checked

SURE: Final = 3.0  # standard errors above which a difference of accuracies is not chance


def _gap(checks: Sequence[Checked]) -> float:
    """Return the mean gap between training and validation; NaN if there are too few checks."""
    if len(checks) < SMOOTHED:
        return math.nan
    return float(np.mean([check.training_accuracy - check.accuracy for check in checks]))


@rules.register("overfitting")
@dataclass(frozen=True)
class Overfitting(Rule):
    """Training accuracy exceeds validation accuracy by more than `gap`, and the gap is growing.

    An info, because a gap alone does no harm: with random labels it is unavoidable. A warning if
    validation accuracy has fallen from its best by more than `fall`, and by more than chance
    explains: training should have stopped earlier.
    """

    moment: ClassVar = "validation"
    gap: float = 0.1  # of the accuracies from which it is reported
    fall: float = 0.05  # of validation accuracy from which it is a warning

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        checks = [*seen.past.checks]
        gap, before = _gap(checks[-SMOOTHED:]), _gap(checks[:-SMOOTHED])
        growing = gap > before or slack > 1
        if not (gap > self.gap / slack and growing):
            return None
        last = checks[-1]
        cause = (
            f"training accuracy is {percent(last.training_accuracy)}, "
            f"validation accuracy {percent(last.accuracy)}"
        )
        words = seen.words
        advice = f"regularise: {words.weight_decay}, dropout, more data or {words.augment}"
        fallen = self._fallen(seen)
        if fallen > self.fall / slack:
            cause += f", down by {percent(fallen)} from its best"
            advice = f"stop earlier, or {advice}"
            return Symptom("warning", fallen, self.fall, "fall", cause, advice)
        return Symptom("info", gap, self.gap, "gap", cause, advice)

    @staticmethod
    def _fallen(seen: RuleContext) -> float:
        """Return how far validation accuracy is below its best; 0 if that may be chance."""
        best = seen.past.best_accuracy
        now = float(np.mean([check.accuracy for check in [*seen.past.checks][-SMOOTHED:]]))
        examples = max(seen.run.validation_examples, 1)
        error = math.sqrt((best * (1 - best) + now * (1 - now)) / examples)
        return best - now if best - now > SURE * error else 0.0

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        now = case.hyperparameters.get("weight_decay", 0.0)
        decay = set_hyperparameter(
            case, "weight_decay", max(10 * now, 1e-3), "optimizer.weight_decay"
        )
        half = max(0.5, case.hyperparameters.get("dropout", 0.0))
        drops = "dropout" in case.hyperparameters and case.hyperparameters["dropout"] < half
        return decay + (
            set_hyperparameter(case, "dropout", half, "") if drops and case.live else []
        )


@rules.register("underfitting")
@dataclass(frozen=True)
class Underfitting(Rule):
    """Training and validation accuracy are within `gap`, and both low, in the second half of a run.

    On a scale from guessing (0) to perfect (1), low means below `low`. A network that is hardly
    better than guessing does not learn at all; other rules explain that.
    """

    moment: ClassVar = "validation"
    gap: float = 0.01  # of the accuracies below which they are equal
    low: float = 0.5  # skill below which it is low
    begun: float = 0.1  # skill below which nothing is learned

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        if seen.run.classes < 2 or not seen.run.total_steps:
            return None
        checks = [*seen.past.checks][-SMOOTHED:]
        gap, chance = _gap(checks), 1 / seen.run.classes
        accuracy = float(np.mean([check.training_accuracy for check in checks]))
        skill = (accuracy - chance) / (1 - chance)
        halfway = 2 * checks[-1].step >= seen.run.total_steps
        low = self.begun < skill < self.low
        if not (halfway and low and abs(gap) < self.gap * slack):
            return None
        cause = f"training and validation accuracy are both about {percent(accuracy)}"
        advice = f"more capacity: {seen.words.width}; or train longer"
        return Symptom("info", gap, self.gap, "gap", cause, advice)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        if case.own_layers or len(case.layers) < 2:
            return []
        units = [2 * layer.units for layer in case.layers[: hidden_layers(case.layers)]]
        return [Fix("twice as many hidden units", settings=(f"network.hidden={units}",))]
