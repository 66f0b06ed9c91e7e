"""When a trial is given up whatever the others do: `stop = ["not_finite", "loss_ratio(3)"]`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from engine.errors import require
from engine.registry import Registry
from tuilab.diagnosis.base import SEVERITIES
from tuilab.diagnosis.finding import Finding


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """What a trial has shown so far."""

    first_loss: float = math.nan
    highest_loss: float = -math.inf  # NaN and infinity count as infinity
    findings: Sequence[Finding] = ()


class StopRule(ABC):
    """One reason to give a trial up."""

    @abstractmethod
    def broken(self, seen: TrialProgress) -> str:
        """Return the reason in a few words, or ""."""


stop_rules: Final[Registry[StopRule]] = Registry("stop rule")


@stop_rules.register("not_finite")
@dataclass(frozen=True)
class NotFinite(StopRule):
    """The loss is NaN or infinite."""

    def broken(self, seen: TrialProgress) -> str:
        return "loss not finite" if seen.highest_loss == math.inf else ""


@stop_rules.register("loss_ratio")
@dataclass(frozen=True)
class LossRatio(StopRule):
    """The loss is above `limit` times the first one (the lecture: three times)."""

    limit: float = 3.0

    def __post_init__(self) -> None:
        require(self.limit > 1, "limit", f"must be above 1, is {self.limit:g}")

    def broken(self, seen: TrialProgress) -> str:
        above = seen.highest_loss > self.limit * seen.first_loss
        return f"loss > {self.limit:g} × first" if above else ""


@stop_rules.register("finding")
@dataclass(frozen=True)
class FindingStopRule(StopRule):
    """The diagnosis has found something of this severity or a graver one."""

    severity: Literal["error", "warning"] = "error"

    def broken(self, seen: TrialProgress) -> str:
        least = SEVERITIES.index(self.severity)
        grave = [finding for finding in seen.findings if finding.rank >= least]
        return grave[0].title if grave else ""
