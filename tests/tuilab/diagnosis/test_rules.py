"""Every rule of the registry: it fires on its scenario, says what and why, and never fails."""

import re
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.statistics.frames import (
    BINS,
    FIELDS,
    TENSORS,
    Event,
    Floats,
    Frame,
    LayerInfo,
    Snapshot,
    Validation,
)
from tests.tuilab.diagnosis.support import FIRING, diagnose, found
from tuilab.diagnosis import Diagnosis, Finding, Monitor, RunFacts
from tuilab.diagnosis.base import Rule, rules
from tuilab.diagnosis.finding import SEVERITIES
from tuilab.diagnosis.rules import cost
from tuilab.diagnosis.settings import parse

NAMES = sorted(rules)
WORST = {
    "shrinking_activations": "warning",
    "vanishing_gradient": "error",
    "exploding_gradient": "error",
    "symmetric_units": "error",
    "exploding_loss": "error",
    "not_finite": "error",
    "overfitting": "info",
    "underfitting": "info",
    "probe_cost": "info",
}
"""How grave the findings of the small scenarios are; a warning where nothing is said."""


@pytest.fixture(autouse=True)
def _costs_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SETTLED", 0.0)  # these runs are over before


def test_there_is_a_scenario_for_each_rule_and_for_nothing_else() -> None:
    assert sorted(path.stem for path in FIRING.glob("*.toml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_documented_and_its_settings_are_positive_numbers(name: str) -> None:
    cls = rules[name]
    assert is_dataclass(cls)
    assert cls.__doc__ and cls.__doc__ != Rule.__doc__
    hints = get_type_hints(cls)
    for field in fields(cls):
        assert hints[field.name] in (int, float)
        assert getattr(cls(), field.name) > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_rule_fires_on_its_scenario(name: str, seed: int) -> None:
    finding = found(diagnose(FIRING / f"{name}.toml", f"seed={seed}"))[name]
    assert finding.severity == WORST.get(name, "warning")
    assert re.search(r"\d|nan|inf", finding.cause)
    assert finding.advice
    *path, last = finding.key.split(".")
    if name == "not_finite":  # there is no threshold
        assert finding.key == "diagnosis.not_finite"
    else:
        assert path == ["diagnosis", name]
        assert getattr(rules[name](), last) == finding.threshold


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_is_switched_off_finds_nothing(name: str) -> None:
    assert name not in found(diagnose(FIRING / f"{name}.toml", f"diagnosis.{name}=false"))


REACHABLE = [name for name in NAMES if fields(rules[name]) and name != "symmetric_units"]
"""Rules that a threshold can silence; units that are exactly the same are below any."""


@pytest.mark.parametrize("name", REACHABLE)
def test_thresholds_decide(name: str) -> None:
    """With all its numbers tiny or all huge, one or the other, a rule finds nothing."""
    hints = get_type_hints(rules[name])
    numbers = [field.name for field in fields(rules[name]) if hints[field.name] is float]
    events = [
        diagnose(FIRING / f"{name}.toml", *(f"diagnosis.{name}.{key}={number}" for key in numbers))
        for number in (1e-30, 1e30)
    ]
    assert any(name not in found(made) for made in events)


LAYERS = 5
FACTS = RunFacts(
    layers=tuple(LayerInfo(k + 1, "relu", "linear", 10, "relu") for k in range(LAYERS)),
    classes=3,
    total_steps=40,
    steps_per_epoch=4,
    guessing_loss=1.1,
    validation_examples=20,
)
NUMBERS = st.floats(width=64, allow_nan=True, allow_infinity=True)


def made_up(first: int, pool: Floats, generator: np.random.Generator) -> Frame:
    """A frame without any respect for what the numbers mean."""

    def some(*shape: int) -> Floats:
        return np.asarray(generator.choice(pool, shape))

    snapshot = Snapshot(
        step=first,
        epoch=first / 4,
        statistics=some(LAYERS, len(TENSORS), len(FIELDS)),
        histograms=np.zeros((LAYERS, len(TENSORS), BINS + 2), np.int64),
        ranges=np.zeros((LAYERS, len(TENSORS), 2)),
        dead_fraction=some(LAYERS),
        update_ratio=some(LAYERS),
        asymmetry=some(LAYERS),
        one_signed=some(LAYERS),
    )
    (loss,), accuracy = some(1).tolist(), float(generator.random())
    diverged = Event(first, 0.0, "diverged", {"loss": "nan"})
    return Frame(
        first_step=first,
        time=float(first),
        epoch=first / 4,
        series={
            "loss": some(4),
            "data_loss": some(4),
            "accuracy": generator.random(4),
            "learning_rate": some(4),
        },
        steps_per_second=1.0,
        probe_share=float(some(1)[0]),
        hyperparameters={},
        validations=(Validation.of(first + 4, first / 4 + 1, loss=loss, accuracy=accuracy),),
        snapshot=snapshot,
        events=(diverged,) if generator.random() < 0.1 else (),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=6), st.integers(0, 2**32))
def test_no_numbers_whatever_make_a_rule_fail(pool: list[float], seed: int) -> None:
    generator = np.random.default_rng(seed)
    monitor = Monitor(Diagnosis(patience=1), FACTS)
    for first in range(0, 40, 4):
        frame = made_up(first, np.array(pool), generator)
        for event in monitor.see(frame):
            if event.kind == "finding":
                finding = Finding.of(event)
                assert finding.severity in SEVERITIES
                assert all(1 <= layer <= LAYERS for layer in finding.layers)


def test_every_rule_can_be_named_in_a_scenario() -> None:
    table = dict.fromkeys(NAMES, False)
    assert not parse(table).rules
