"""What is healthy is not complained of, and what the lecture warns of is."""

import pytest

from tests.tuilab.diagnosis.support import HEALTHY, diagnose, found

DEEP = ["he_relu", "xavier_tanh", "batchnorm_tanh", "batchnorm_relu"]
SHORT = dict.fromkeys(DEEP, "train.steps=48") | {"digits_mlp": "train.epochs=20"}
"""Enough for every rule to have its say: six epochs of the deep ones, 24 statistics."""
NARROW = ["network.hidden.width=200", "data.features=200"]
"""A deep network with a quarter of the work, whose statistics vary more from seed to seed."""


def complaints(name: str, *sets: str) -> dict[str, str]:
    """What the diagnosis warns of, by rule."""
    events = found(diagnose(HEALTHY / f"{name}.toml", *sets))
    return {
        rule: f"{finding.severity}: {finding.cause}"
        for rule, finding in events.items()
        if finding.severity != "info"
    }


@pytest.mark.parametrize(
    ("name", "sets"),
    [("he_relu", NARROW), pytest.param("he_relu", [], marks=pytest.mark.slow), ("digits_mlp", [])],
    ids=["narrow", "he_relu", "digits_mlp"],
)
def test_a_healthy_run_is_not_complained_of_to_its_end(name: str, sets: list[str]) -> None:
    assert complaints(name, *sets) == {}


def test_large_updates_of_small_weights_are_well_where_the_loss_falls() -> None:
    assert complaints("batchnorm_relu", "train.steps=120") == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SHORT)
def test_nor_is_it_with_any_seed(name: str, seed: int) -> None:
    sets = NARROW if seed and name in DEEP else []  # with the first as wide as the scenario is
    assert complaints(name, f"seed={seed}", SHORT[name], *sets) == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xavier_relu", {"shrinking_activations": "warning"}),
        ("std001_tanh", {"shrinking_activations": "error", "vanishing_gradient": "error"}),
        ("std1_tanh", {"exploding_gradient": "error", "saturation": "warning"}),
    ],
)
def test_a_bad_start_is_named(name: str, expected: dict[str, str]) -> None:
    events = found(diagnose(HEALTHY / f"{name}.toml", "train.steps=6"))
    assert {rule: events[rule].severity for rule in expected} == expected
    for rule in expected:
        assert events[rule].layers == tuple(range(1, 11))
        assert events[rule].first_step == 0


def test_batch_normalisation_repairs_what_is_complained_of() -> None:
    sets = ["network.batch_norm=true", "train.steps=24"]
    assert complaints("std001_tanh", *sets) == {}
