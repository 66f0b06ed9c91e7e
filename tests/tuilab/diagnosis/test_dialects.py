"""Advice speaks the language of the program that it is for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import Event, Frame
from tests.tuilab.diagnosis.test_monitor import FACTS
from tuilab.diagnosis import Diagnosis, Monitor
from tuilab.diagnosis.dialects import dialect_of
from tuilab.diagnosis.finding import active

KEYS = ("optimizer.learning", "network.", "data.preprocess", "tuilab run", "[[layer]]")
"""What only a scenario file has."""


def diverged(source: str) -> Sequence[Event]:
    """Return the events of a run whose loss explodes and then is not finite."""
    monitor = Monitor(Diagnosis(), replace(FACTS, dialect=dialect_of(source), own_layers=True))
    losses = np.array([1.0, *np.geomspace(10, 1e4, 30), np.nan])
    event = Event(31, 1.0, "diverged", {"loss": "nan", "message": ""})
    exploding = Frame(first_step=0, series={"loss": losses[:-1]})
    last = Frame(first_step=31, series={"loss": losses[-1:]}, events=[event])
    return [*monitor.see(exploding), *monitor.see(last)]


@pytest.mark.parametrize("source", ["torch", "keras", "transformers", "lightning"])
def test_no_key_of_a_scenario_is_named_in_the_advice_for_a_program(source: str) -> None:
    findings = active(diverged(source))
    assert {"not_finite", "exploding_loss"} <= {finding.rule for finding in findings}
    for finding in findings:
        assert not any(key in finding.advice for key in KEYS), finding.advice


def test_a_scenario_is_advised_by_its_keys() -> None:
    advice = {finding.rule: finding.advice for finding in active(diverged("scenario"))}
    assert "optimizer.learning_rate" in advice["exploding_loss"]


@pytest.mark.parametrize("source", ["torch", "keras"])
@pytest.mark.parametrize("name", ["he", "xavier", "lecun"])
def test_every_initialiser_has_a_name_in_every_dialect(source: str, name: str) -> None:
    words = dialect_of(source)
    assert words.initializer(name, own_layers=True)
    assert "network" not in words.activation("tanh", "elu", "leaky_relu")
