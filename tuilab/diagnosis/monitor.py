"""Patience, hysteresis and severity: the one place where conditions become findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.states import EventKind
from engine.statistics.frames import Event, Frame, Snapshot
from tuilab.diagnosis.base import Rule, RuleContext, Symptom
from tuilab.diagnosis.finding import SEVERITIES, Finding, Severity
from tuilab.diagnosis.past import Past, RunFacts
from tuilab.diagnosis.settings import Diagnosis

SLACK: Final = 3.0
"""A finding clears at a threshold this many times looser than the one at which it began."""


@dataclass
class _Watch:
    """The state of one rule: how many moments in a row it has held, by severity, and since when."""

    rule: Rule
    held: dict[Severity, int] = field(default_factory=lambda: dict.fromkeys(SEVERITIES, 0))
    since: int = 0
    free: int = 0  # moments in a row in which it no longer held
    finding: Finding | None = None

    def count(self, symptom: Symptom | None, step: int) -> None:
        """Count a moment for every severity that the symptom reaches."""
        if symptom is not None and not any(self.held.values()) and self.finding is None:
            self.since = step
        reached = -1 if symptom is None else SEVERITIES.index(symptom.severity)
        for rank, severity in enumerate(SEVERITIES):
            self.held[severity] = self.held[severity] + 1 if rank <= reached else 0

    def worst(self, patience: int) -> Severity | None:
        """Return the worst severity that has held for long enough."""
        return next((s for s in reversed(SEVERITIES) if self.held[s] >= patience), None)


class Monitor:
    """Feeds the rules with frames; `see` returns their findings as events."""

    def __init__(self, diagnosis: Diagnosis, run: RunFacts) -> None:
        self._patience = diagnosis.patience
        self._watches: Mapping[str, _Watch] = {
            name: _Watch(rule) for name, rule in diagnosis.rules.items()
        }
        self._past = Past(run)

    def recall(
        self, findings: Sequence[Finding], loss: float, data_loss: float, first: Snapshot | None
    ) -> None:
        """Continue a run with these findings open; the rest is how it began.

        What happened in between, the curves above all, is not known.
        """
        for finding in findings:
            if finding.rule in self._watches:
                self._watches[finding.rule].finding = finding
        self._past.begin(loss, data_loss, first)

    def see(self, frame: Frame) -> list[Event]:
        """Examine a frame; return events "finding" (new, or worse than before) and "cleared"."""
        events: list[Event] = []
        seen = RuleContext(self._past, frame)
        with np.errstate(all="ignore"):  # of runs that broke
            for moment, step in self._past.take(frame):
                for name, watch in self._watches.items():
                    if watch.rule.moment == moment:
                        events += self._look(name, watch, seen, step)
        return events

    def _look(self, name: str, watch: _Watch, seen: RuleContext, step: int) -> list[Event]:
        rule, time = watch.rule, seen.frame.time
        strict = rule.look(seen, 1.0)
        if rule.only_at_start and step > 0 and watch.finding is None:
            return []
        watch.count(strict, step)
        alone = not rule.patient or (rule.at_start and step == 0)
        severity = watch.worst(1 if alone else self._patience)
        if strict is not None and severity is not None:
            finding = self._finding(name, watch, strict, severity)
            if finding is not None:
                watch.finding = finding
                return [finding.event(step, time)]
        if watch.finding is not None and (strict or rule.look(seen, SLACK)) is None:
            watch.free += 1
            if watch.free >= self._patience:
                first, watch.finding, watch.free = watch.finding.first_step, None, 0
                return [Event(step, time, EventKind.CLEARED, {"rule": name, "first_step": first})]
        else:
            watch.free = 0
        return []

    @staticmethod
    def _finding(name: str, watch: _Watch, symptom: Symptom, severity: Severity) -> Finding | None:
        """Return a finding that is new, worse than before, or in more layers; None otherwise."""
        before = watch.finding
        layers = symptom.layers
        if before is not None:
            worse = SEVERITIES.index(severity) > before.rank
            more = set(layers) - set(before.layers)
            if not worse and (not more or SEVERITIES.index(symptom.severity) < before.rank):
                return None
            severity = severity if worse else before.severity
            layers = tuple(sorted({*before.layers, *layers}))
        return Finding(
            rule=name,
            severity=severity,
            layers=layers,
            first_step=watch.since,
            measured=symptom.measured,
            threshold=symptom.threshold,
            cause=symptom.cause,
            advice=symptom.advice,
            key=f"diagnosis.{name}.{symptom.key}" if symptom.key else f"diagnosis.{name}",
            remedy=symptom.remedy,
        )
