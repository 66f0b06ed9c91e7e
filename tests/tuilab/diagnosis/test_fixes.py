"""What each rule offers against its finding: changes that a run, or a new one, takes."""

from typing import Any

import numpy as np
import pytest

from engine.commands import Command
from engine.optimization.hyperparameters import check
from engine.statistics.frames import LayerInfo
from tests.tuilab.support import layer_infos
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.finding import Finding
from tuilab.diagnosis.fixes import Case, Fix, good_initializer, initialize
from tuilab.diagnosis.rules.dead_units import LOWER_RATE
from tuilab.diagnosis.rules.learning_rate import FIX_SIGNAL
from tuilab.scenario.loading import load

SCENARIO = """
[data]
source = "gaussian"
batch_size = 10
[network]
hidden = [20, 20]
activation = "sigmoid"
initializer = {name = "normal", std = 0.01}
[optimizer]
name = "sgd"
learning_rate = 0.1
[train]
epochs = 1
"""
NUMBERS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0, "dropout": 0.2}
SILENT = {"probe_cost"}
"""Rules that offer nothing."""


def found(rule: str, **more: Any) -> Finding:
    settings: dict[str, Any] = {
        "severity": "error", "layers": (1, 2), "first_step": 0, "measured": 3.0, "threshold": 1.0,
        "cause": "something", "advice": "something",
    }  # fmt: skip
    return Finding(rule, **settings | more)


def case(*, live: bool = True, activation: str = "sigmoid", **more: Any) -> Case:
    layers = [LayerInfo(k, activation, "linear", 20, activation) for k in (1, 2)]
    last = LayerInfo(3, "output", "linear", 4, "identity")
    return Case([*layers, last], "normal", hyperparameters=NUMBERS, live=live, **more)


def offers(rule: str, case: Case, **more: Any) -> list[Fix]:
    return rules[rule]().fixes(found(rule, **more), case)


@pytest.mark.parametrize("rule", rules)
@pytest.mark.parametrize("live", [True, False])
def test_every_rule_offers_what_can_be_done(rule: str, live: bool, tmp_path: Any) -> None:
    fixes = offers(rule, case(live=live))
    assert bool(fixes) is (rule not in SILENT)
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    before = load(path)
    for fix in fixes:
        ways = [fix.command is not None, bool(fix.settings), fix.go_on]
        assert sum(ways) == 1
        assert fix.label
        if fix.command is not None:
            assert live
            check(fix.command.key, fix.command.value)
            assert fix.command.key in NUMBERS
        if fix.go_on:
            assert not live
        if fix.settings:
            assert load(path, list(fix.settings)) != before


@pytest.mark.parametrize(
    ("rule", "more", "rate"),
    [
        ("high_learning_rate", {"measured": 0.004, "key": "diagnosis.x.warning"}, 0.025),
        ("high_learning_rate", {"measured": 5.0, "key": "diagnosis.x.error"}, 0.01),
        ("high_learning_rate", {"measured": 0.3, "key": "diagnosis.x.oscillation"}, 0.01),
        ("low_learning_rate", {"measured": 5e-4, "key": "diagnosis.x.update_ratio"}, 0.2),
        ("low_learning_rate", {"measured": 1e-6, "key": "diagnosis.x.update_ratio"}, 1.0),
        ("low_learning_rate", {"measured": 1e-4, "key": "diagnosis.x.change"}, 1.0),
        ("exploding_loss", {}, 0.01),
    ],
)
def test_the_learning_rate_goes_to_where_updates_are_healthy(
    rule: str, more: dict[str, Any], rate: float
) -> None:
    command = offers(rule, case(), **more)[0].command
    assert command is not None
    assert (command.kind, command.key) == ("set", "learning_rate")
    assert command.value == pytest.approx(rate)
    begun = offers(rule, case(live=False), **more)[0]
    assert begun.settings == (f"optimizer.learning_rate={rate:g}",)


def test_a_signal_that_dies_is_mended_before_the_rate() -> None:
    fixes = offers("low_learning_rate", case(), remedy=FIX_SIGNAL, measured=1e-5)
    assert [bool(fix.settings) for fix in fixes] == [True, True, False]


def test_units_that_died_while_training_want_a_lower_rate() -> None:
    died = offers("dead_units", case(), remedy=LOWER_RATE)
    assert died[0].command == Command("set", "learning_rate", 0.01)
    assert offers("dead_units", case())[0].label == "leaky_relu activation"


def test_after_a_divergence_it_goes_on_from_before() -> None:
    assert offers("not_finite", case(live=False))[0].go_on


@pytest.mark.parametrize(
    ("activation", "name"),
    [("tanh", "xavier"), ("relu", "he"), ("elu", "he"), ("selu", "lecun"), ("sigmoid", "xavier")],
)
def test_the_initializer_suits_the_non_linearity(activation: str, name: str) -> None:
    assert good_initializer(activation) == name
    (first, second) = initialize(case(activation=activation))
    assert first.settings == (f'network.initializer="{name}"',)
    assert second.settings == ("network.batch_norm=true",)


def test_what_the_network_already_has_is_not_offered() -> None:
    layers = [LayerInfo(1, "relu", "linear", 9, "relu", "batch_norm"), *layer_infos(1)]
    assert initialize(Case(layers, "he")) == []
    assert initialize(Case(layer_infos(), "he", own_layers=True)) == []
    assert [f.label for f in offers("dead_units", case(activation="leaky_relu"))] == [
        "initial biases of 0.01"
    ]
    assert offers("vanishing_gradient", case(activation="tanh"))[-1].label == "batch normalisation"


def test_a_loss_below_guessing_has_no_fix_by_weights() -> None:
    assert offers("initial_loss", case(), measured=0.2) == []


def test_centring_helps_the_first_layer_only() -> None:
    assert offers("not_zero_centered", case())[0].settings == ('data.preprocess=["zero_mean"]',)
    assert offers("not_zero_centered", case(), layers=(2,))[0].label == "tanh activation"


def test_every_rule_says_what_it_looks_for() -> None:
    for rule in rules.values():
        assert rule.__doc__
        assert len(rule.__doc__) > 40
    lecture = [name for name, rule in rules.items() if "ecture 6" in (rule.__doc__ or "")]
    assert len(lecture) >= 10
    assert np.isin(["shrinking_activations", "vanishing_gradient", "not_finite"], lecture).all()
