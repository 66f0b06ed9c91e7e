"""The cost of the statistics."""

from dataclasses import dataclass
from typing import ClassVar, Final

from tuilab.diagnosis.base import Rule, RuleContext, Symptom, percent, rules

SETTLED: Final = 2.0  # seconds: earlier, the statistics of step 0 dominate


@rules.register("probe_cost")
@dataclass(frozen=True)
class ProbeCost(Rule):
    """Statistics take more than a share of the training time."""

    moment: ClassVar = "frame"
    share: float = 0.1  # of the training time

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        share = seen.frame.probe_share
        if seen.frame.time < SETTLED or not share > self.share / slack:
            return None
        cause = f"statistics take {percent(share)} of the training time"
        advice = "nothing to do: they are now taken less often; larger batches reduce their share"
        return Symptom("info", share, self.share, "share", cause, advice)
