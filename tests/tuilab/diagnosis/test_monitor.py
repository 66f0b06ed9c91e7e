"""Patience, hysteresis and escalation, with a rule whose answers are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.statistics.frames import Event
from tests.tuilab.support import frame, layer_infos, snapshot
from tuilab.diagnosis import Diagnosis, Finding, Monitor, RunFacts
from tuilab.diagnosis.base import Rule, RuleContext, Symptom, above

FACTS = RunFacts(tuple(layer_infos()), 3, 100, 10, float(np.log(3)))


@dataclass(frozen=True)
class Scripted(Rule):
    """The update ratio of layer 1 above 0.3 is a warning, above 0.6 an error; layer 2 likewise."""

    warning: float = 0.3
    error: float = 0.6

    def look(self, seen: RuleContext, slack: float) -> Symptom | None:
        values = seen.snapshot.update_ratio[:2]
        worst = float(values.max())
        layers = tuple(at + 1 for at in range(2) if above(float(values[at]), self.warning, slack))
        if above(worst, self.error, slack):
            return Symptom("error", worst, self.error, "error", f"is {worst}", "less", layers)
        if above(worst, self.warning, slack):
            return Symptom("warning", worst, self.warning, "warning", f"is {worst}", "less", layers)
        return None


@dataclass(frozen=True)
class AtStart(Scripted):
    at_start: ClassVar = True
    only_at_start: ClassVar = True


@dataclass(frozen=True)
class Impatient(Scripted):
    patient: ClassVar = False


def scripted(
    values: Sequence[float | tuple[float, float]], rule: Rule | None = None, first: int = 0
) -> list[Event]:
    """Show one snapshot for each value; return the events."""
    monitor = Monitor(Diagnosis(rules={"scripted": rule or Scripted()}), FACTS)
    events = []
    for step, value in enumerate(values, start=first):
        shot = snapshot(step)
        shot.update_ratio[:2] = value if isinstance(value, tuple) else (value, 0.0)
        events += monitor.see(frame(step, [1.0], shot=shot))
    return events


def kinds(events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(event.kind, event.step) for event in events]


def test_a_condition_must_hold_three_times_in_a_row() -> None:
    assert scripted([0.4, 0.4, 0.1, 0.4, 0.4]) == []
    (event,) = scripted([0.1, 0.4, 0.5, 0.4, 0.4])
    finding = Finding.of(event)
    assert (event.step, finding.first_step, finding.severity) == (3, 1, "warning")
    assert (finding.rule, finding.measured, finding.threshold) == ("scripted", 0.4, 0.3)
    assert finding.key == "diagnosis.scripted.warning"
    assert finding.layers == (1,)


def test_it_clears_at_a_looser_threshold_and_with_patience_too() -> None:
    begun = [0.4, 0.4, 0.4]
    assert kinds(scripted([*begun, *[0.11] * 9])) == [("finding", 2)]  # above 0.3 / 3
    assert kinds(scripted([*begun, 0.09, 0.09, 0.11, 0.09, 0.09])) == [("finding", 2)]
    events = scripted([*begun, 0.09, 0.09, 0.09])
    assert kinds(events) == [("finding", 2), ("cleared", 5)]
    assert events[1].detail == {"rule": "scripted", "first_step": 0}


def test_what_has_cleared_can_come_back() -> None:
    events = scripted([*[0.4] * 3, *[0.0] * 3, *[0.4] * 3])
    assert kinds(events) == [("finding", 2), ("cleared", 5), ("finding", 8)]
    assert Finding.of(events[2]).first_step == 6


def test_a_warning_becomes_an_error_once_and_stays_one() -> None:
    events = scripted([*[0.4] * 3, *[0.7] * 5, *[0.4] * 4])
    assert kinds(events) == [("finding", 2), ("finding", 5)]
    assert [Finding.of(event).severity for event in events] == ["warning", "error"]
    assert Finding.of(events[1]).first_step == 0
    assert Finding.of(events[1]).key == "diagnosis.scripted.error"


def test_what_is_grave_from_the_start_is_an_error_at_once_and_a_mixture_a_warning() -> None:
    assert [Finding.of(e).severity for e in scripted([0.7] * 3)] == ["error"]
    assert [Finding.of(e).severity for e in scripted([0.7, 0.4, 0.7])] == ["warning"]


def test_layers_that_join_are_added() -> None:
    events = scripted([*[0.4] * 3, (0.4, 0.5), (0.0, 0.5)])
    assert [Finding.of(event).layers for event in events] == [(1,), (1, 2)]
    assert kinds(events)[-1] == ("finding", 3)


def test_at_the_start_one_look_is_enough_and_later_comes_too_late() -> None:
    (event,) = scripted([0.7], AtStart())
    assert Finding.of(event).severity == "error"
    assert scripted([0.1, *[0.7] * 9], AtStart()) == []
    assert scripted([0.7] * 9, AtStart(), first=5) == []
    assert kinds(scripted([0.7, *[0.0] * 3], AtStart())) == [("finding", 0), ("cleared", 3)]


def test_some_need_no_patience() -> None:
    assert kinds(scripted([0.1, 0.4], Impatient())) == [("finding", 1)]


def test_patience_is_a_setting() -> None:
    monitor = Monitor(Diagnosis(patience=1, rules={"scripted": Scripted()}), FACTS)
    shot = snapshot(7)
    shot.update_ratio[:2] = 0.4
    assert kinds(monitor.see(frame(7, [1.0], shot=shot))) == [("finding", 7)]
