"""Activations in the flat part of their function, which pass on almost no gradient."""

from dataclasses import dataclass

import numpy as np

from tuilab.diagnosis.base import (
    Rule,
    RuleContext,
    Symptom,
    initializer_advice,
    numbered,
    percent,
    rules,
)
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import FAR, Case, Fix, initialize, set_rate


@rules.register("saturation")
@dataclass(frozen=True)
class Saturation(Rule):
    """Too many activations of a layer are saturated: |tanh| > 0.97, sigmoid < 0.03 or > 0.97.

    Each non-linearity defines the bounds (lecture 6, "saturated neurons kill the gradients").
    """

    share: float = 0.5  # of the activations of a layer

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        shares = seen.hidden(seen.snapshot.field("activation", "saturated_fraction"))
        over = shares > self.share / slack
        if not over.any():
            return None
        worst = float(np.nanmax(shares))
        begun = seen.past.first
        advice = f"weights start too large: {initializer_advice(seen.run)}"
        if begun is not None:
            at_first = seen.hidden(begun.field("activation", "saturated_fraction"))
            if not (at_first > self.share).any():  # saturated only during training
                advice = f"steps are too large: lower {seen.words.rate}"
        cause = f"{percent(worst)} of a layer's activations are saturated: no gradient passes there"
        return Symptom("warning", worst, self.share, "share", cause, advice, numbered(over))

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        return initialize(case) + set_rate(case, 1 / FAR)
