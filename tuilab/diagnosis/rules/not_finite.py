"""A loss that is not finite."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from engine.states import EventKind
from tuilab.diagnosis.base import Rule, RuleContext, Symptom, rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import FAR, Case, Fix, set_rate

STILL_BROKEN: Final = Symptom("error", math.nan, math.inf, "", "no step since", "")


@rules.register("not_finite")
@dataclass(frozen=True)
class NotFinite(Rule):
    """The loss is NaN or infinite; the finding names the first layer and tensor.

    "NaN almost always means high learning rate" (lecture 6, "babysitting the learning process").
    """

    moment: ClassVar = "frame"
    patient: ClassVar = False

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        event = next((e for e in seen.frame.events if e.kind == EventKind.DIVERGED), None)
        if event is None:  # the finding remains until a step succeeds
            trained = seen.frame.steps and bool(np.isfinite(seen.frame.loss).all())
            return None if slack == 1 or trained else STILL_BROKEN
        layer, tensor = event.detail.get("layer"), event.detail.get("tensor")
        loss = str(event.detail.get("loss"))
        cause = f"the loss became {loss} at step {event.step}"
        if layer is not None:
            cause += f"; first not finite: {tensor} of layer {layer} ({event.detail.get('name')})"
        words = seen.words
        advice = (
            f"lower {words.rate}, or limit steps: {words.clip}; to continue from before it, "
            f"{words.restart}"
        )
        layers = (int(layer),) if layer is not None else ()
        return Symptom("error", float(loss), math.inf, "", cause, advice, layers)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        back = Fix("continue from before it, at a lower learning rate", go_on=True)
        clip = Fix("gradient clipping", settings=("optimizer.clip_norm=1.0",))
        return ([] if case.live else [back]) + set_rate(case, 1 / FAR) + [clip]
