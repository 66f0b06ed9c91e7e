"""Units of a layer that are all equal."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tuilab.diagnosis.base import Rule, RuleContext, Symptom, initializer_advice, numbered, rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import Case, Fix, initialize


@rules.register("symmetric_units")
@dataclass(frozen=True)
class SymmetricUnits(Rule):
    """All columns of a weight matrix are equal: units that start equal stay equal.

    An output layer may start with zeros: the first update breaks its symmetry, because the labels
    of the classes differ. Nothing distinguishes hidden units (lecture 6, "W = 0").
    """

    tensor: ClassVar = "weight"
    asymmetry: float = 1e-3  # ‖W − mean over units‖ / ‖W‖ below which it is reported

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        several = np.array([layer.units > 1 for layer in seen.run.layers])
        same = (seen.snapshot.asymmetry < self.asymmetry * slack) & several
        if not same.any():
            return None
        at = int(np.argmax(same))
        zero = seen.snapshot.field("weight", "norm")[at] == 0
        what = "all weights are zero" if zero else "all units have the same weights"
        measured = float(seen.snapshot.asymmetry[at])
        cause = (
            f"{what} in {seen.named(at + 1)} (asymmetry {measured:.2g}): it acts as a single unit"
        )
        advice = f"draw the weights at random: {initializer_advice(seen.run)}"
        return Symptom(
            "error", measured, self.asymmetry, "asymmetry", cause, advice, numbered(same)
        )

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        return [fix for fix in initialize(case) if "initializer" in fix.settings[0]]
