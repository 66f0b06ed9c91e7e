"""Units that no training example reaches."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.diagnosis.base import Flags, Rule, RuleContext, Symptom, numbered, percent, rules
from tuilab.diagnosis.finding import Finding, Severity
from tuilab.diagnosis.fixes import FAR, Case, Fix, activate, set_rate

LOWER_RATE: Final = "lower_rate"
"""Remedy against units that died during training."""


@rules.register("dead_units")
@dataclass(frozen=True)
class DeadUnits(Rule):
    """Too many units of a layer are inactive over a whole epoch (lecture 6, "dead ReLUs").

    Depth alone causes some: examples look more alike from layer to layer, so that some units are
    inactive for all of them. In ten healthy layers of 500 units, the last have 8–14 % from the
    first step on. The share that a layer after the first starts with is therefore accepted, up to
    `by_depth`; a total of more than `error` is always too much.
    """

    warning: float = 0.1  # share of units from which it is a warning
    error: float = 0.4  # share of units from which it is an error
    by_depth: float = 0.2  # share at the start that is accepted

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        shares = seen.hidden(seen.snapshot.dead_fraction)
        given = self._given(seen, shares)
        levels: list[tuple[Severity, str, float, Floats]] = [
            ("error", "error", self.error, shares),
            ("warning", "warning", self.warning, shares - given),
            ("info", "warning", self.warning, shares),
        ]
        for severity, key, threshold, values in levels:
            over = values > threshold / slack
            if over.any():
                return self._symptom(seen, severity, key, threshold, over)
        return None

    def _given(self, seen: RuleContext, shares: Floats) -> Floats:
        given = np.zeros_like(shares)
        if seen.past.first is not None:
            given[1:] = np.nan_to_num(seen.hidden(seen.past.first.dead_fraction))[1:]
        return np.minimum(given, self.by_depth)

    def _symptom(
        self, seen: RuleContext, severity: Severity, key: str, threshold: float, over: Flags
    ) -> Symptom:
        shares = seen.hidden(seen.snapshot.dead_fraction)
        at = int(np.argmax(np.where(over, shares, -1)))
        worst = float(shares[at])
        first = seen.past.first
        began = float(seen.hidden(first.dead_fraction)[at]) if first is not None else 0.0
        cause = (
            f"{percent(worst)} of the units of {seen.named(at + 1)} are inactive on every example"
        )
        remedy = ""
        if began > worst / 2:
            cause += f" ({percent(began)} from the start)"
            advice = f"start with biases at or above 0 ({seen.words.small_bias}), or leaky_relu"
            if severity == "info":
                advice = "depth alone causes some; leaky_relu has none"
        else:
            remedy = LOWER_RATE
            advice = f"lower {seen.words.rate}, or {seen.words.activation('leaky_relu')}"
        return Symptom(severity, worst, threshold, key, cause, advice, numbered(over), remedy)

    def fixes(self, finding: Finding, case: Case) -> list[Fix]:
        slower = set_rate(case, 1 / FAR) if finding.remedy == LOWER_RATE else []
        if case.own_layers:
            return slower
        bias = Fix("initial biases of 0.01", settings=("network.bias=0.01",))
        return [*slower, *activate(case, "leaky_relu"), bias]
