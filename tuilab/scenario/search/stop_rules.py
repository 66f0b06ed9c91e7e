"""Rules that stop a trial regardless of the others: `stop = ["not_finite", "loss_ratio(3)"]`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.errors import require
from engine.registry import Registry
from tuilab.diagnosis.finding import SEVERITIES, Finding


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """The state of a running trial that stop rules see."""

    first_loss: float = math.nan
    highest_loss: float = -math.inf  # NaN and infinity count as infinity
    findings: Sequence[Finding] = ()


class StopRule(ABC):
    """A reason to stop a trial early."""

    @abstractmethod
    def reason(self, progress: TrialProgress) -> str:
        """Return the reason to stop in a few words, or ""."""


stop_rules: Final[Registry[StopRule]] = Registry("stop rule")


@stop_rules.register("not_finite")
@dataclass(frozen=True)
class NotFinite(StopRule):
    """The loss is NaN or infinite."""

    def reason(self, progress: TrialProgress) -> str:
        return "loss not finite" if progress.highest_loss == math.inf else ""


@stop_rules.register("loss_ratio")
@dataclass(frozen=True)
class LossRatio(StopRule):
    """The loss exceeds `limit` times the first loss (the lecture: three times)."""

    limit: float = 3.0  # of the loss over the first one

    def __post_init__(self) -> None:
        require(self.limit > 1, "limit", f"must be above 1, is {self.limit:g}")

    def reason(self, progress: TrialProgress) -> str:
        above = progress.highest_loss > self.limit * progress.first_loss
        return f"loss > {self.limit:g} × first" if above else ""


@stop_rules.register("finding")
@dataclass(frozen=True)
class FindingStopRule(StopRule):
    """The diagnosis has a finding of at least this severity."""

    severity: Literal["error", "warning"] = "error"  # from which a finding ends the trial

    def reason(self, progress: TrialProgress) -> str:
        least = SEVERITIES.index(self.severity)
        grave = [finding for finding in progress.findings if finding.rank >= least]
        return grave[0].title if grave else ""
