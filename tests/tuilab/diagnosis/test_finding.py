"""Findings as events and back, and which are open after some of them."""

import math

import pytest

from engine.states import EventKind
from engine.statistics.frames import Event
from tuilab.diagnosis.finding import Finding, Severity, active, all_found, named_layers


def finding(rule: str, severity: Severity = "warning", first: int = 3, **more: object) -> Finding:
    values = {"measured": 0.5, "threshold": 0.1, "cause": "is 0.5", "advice": "less"} | more
    return Finding(rule, severity, (1, 2), first, **values)  # type: ignore[arg-type]


def cleared(rule: str) -> Event:
    return Event(9, 0.9, EventKind.CLEARED, {"rule": rule, "first_step": 3})


@pytest.mark.parametrize("value", [0.25, math.nan, math.inf, -math.inf])
def test_an_event_keeps_all_of_it(value: float) -> None:
    made = finding("dead_units", measured=value, key="diagnosis.dead_units.warning")
    event = made.event(7, 0.5)
    assert (event.step, event.time, event.kind) == (7, 0.5, "finding")
    assert str(Finding.of(event)) == str(made)


def test_the_document_has_the_fields_of_the_contract() -> None:
    assert list(finding("a", key="diagnosis.a").document()) == [
        *("rule", "severity", "layers", "first_step", "measured", "threshold"),
        *("cause", "advice"),
    ]


def test_what_stands_is_what_has_not_cleared_the_gravest_first() -> None:
    events = [
        finding("a", "info", 0).event(0, 0.0),
        finding("b", "warning", 2).event(2, 0.0),
        finding("c", "error", 5).event(5, 0.0),
        finding("d", "warning", 1).event(6, 0.0),
        Event(6, 0.0, "set", {"key": "learning_rate"}),
        cleared("d"),
    ]
    assert [f.rule for f in active(events)] == ["c", "b", "a"]
    assert [f.rule for f in all_found(events)] == ["c", "d", "b", "a"]


def test_of_a_rule_that_found_more_than_once_the_worst_counts_from_the_first() -> None:
    events = [
        finding("a", "error", 4).event(4, 0.0),
        cleared("a"),
        finding("a", "warning", 8).event(8, 0.0),
    ]
    assert [(f.severity, f.first_step) for f in all_found(events)] == [("error", 4)]
    assert [(f.severity, f.first_step) for f in active(events)] == [("warning", 8)]
    worse = [*events, finding("a", "error", 9, cause="again").event(9, 0.0)]
    assert [(f.cause, f.first_step) for f in all_found(worse)] == [("again", 4)]


def test_layers_in_words() -> None:
    assert named_layers((3,)) == "layer 3"
    assert named_layers((1, 2)) == "layers 1, 2"
    assert named_layers((2, 3, 4)) == "layers 2–4"
    assert named_layers((1, 2, 4)) == "layers 1, 2, 4"
