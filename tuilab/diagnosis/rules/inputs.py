"""Inputs of a layer that all have one sign."""

from dataclasses import dataclass

import numpy as np

from engine.statistics.frames import Floats
from tuilab.diagnosis.base import Rule, RuleContext, Symptom, numbered, percent, rules
from tuilab.diagnosis.finding import Finding, Severity
from tuilab.diagnosis.fixes import Case, Fix, activate


@rules.register("not_zero_centered")
@dataclass(frozen=True)
class NotZeroCentered(Rule):
    """For one example, the weight gradients of a unit nearly all have one sign: updates zigzag.

    A warning where it can be avoided: in layer 1, whose inputs are the data, and after layers whose
    activations have a mean of more than `offset` times their std, such as a sigmoid. It is also the
    case after ReLU (mean about 0.7 std), where it does little harm: an info.
    """

    share: float = 0.9  # of weight gradients with one sign
    offset: float = 1.0  # |mean| / std of the inputs from which it is a warning

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        shares = seen.snapshot.one_signed
        over = shares > 1 - (1 - self.share) * slack
        if not over.any():
            return None
        severe = over & (self._offsets(seen) > self.offset / slack)
        layers = numbered(severe if severe.any() else over)
        measured = float(shares[layers[0] - 1])
        what = "the data" if layers[0] == 1 else "all inputs"
        cause = f"{what} have one sign, so all weight gradients of a unit do too"
        cause += f" (for {percent(measured)} of examples and units)"
        advice = f"centre the data: {seen.words.centre}"
        if layers[0] > 1:
            advice = f"{seen.words.activation('tanh', 'elu')} has a mean closer to zero"
            if not severe.any():
                advice = f"usual after {seen.run.layers[0].activation}; {advice}"
        severity: Severity = "warning" if severe.any() else "info"
        return Symptom(severity, measured, self.share, "share", cause, advice, layers)

    @staticmethod
    def _offsets(seen: RuleContext) -> Floats:
        """Return |mean| / std of the inputs of each layer; infinite for the data."""
        mean = seen.snapshot.field("activation", "mean")[:-1]
        std = seen.snapshot.field("activation", "std")[:-1]
        with np.errstate(all="ignore"):
            return np.concatenate([[np.inf], np.abs(mean) / std])

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        if 1 in finding.layers:
            settings = ('data.preprocess=["zero_mean"]',)
            return [Fix("centre the data", settings=settings)]
        return activate(case, "tanh") + activate(case, "elu")
