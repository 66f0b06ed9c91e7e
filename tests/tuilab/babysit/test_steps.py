"""Each step says the right thing of what is right, and of what was broken on purpose."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.activations import Tanh
from engine.backends.base import Array, Backend
from engine.data.dataset import Examples
from engine.optimization.regularization import Penalty
from engine.training.gradcheck import ParameterCheck
from tests.tuilab.babysit.conftest import Make
from tuilab.babysit import (
    generalization,
    gradients,
    initial_loss,
    learning_rate,
    overfit,
    regularization,
)
from tuilab.babysit.check import CheckResult
from tuilab.babysit.sequence import CHECKS, run

TINY = {"initializer": {"name": "normal", "std": 1e-4}}
HUGE = {"initializer": {"name": "normal", "std": 1e30}}
ZEROS = {"initializer": "zeros"}


def sweep(check: CheckResult) -> dict[float, str]:
    assert check.sweep is not None
    return {tried.rate: tried.verdict for tried in check.sweep.trials}


class TestInitialLoss:
    @pytest.mark.parametrize(
        ("loss", "chance", "formula"),
        [
            ("softmax_cross_entropy", math.log(3), "ln 3 = 1.099"),
            ({"name": "softmax_cross_entropy", "label_smoothing": 0.3}, math.log(3), "ln 3"),
            ("multiclass_svm", 2.0, "(3 − 1) · 1 = 2"),
            ({"name": "multiclass_svm", "margin": 0.5}, 1.0, "(3 − 1) · 0.5 = 1"),
            ("mean_squared_error", 1 / 3, "1/3 = 0.3333"),
        ],
    )
    def test_small_weights_start_at_what_chance_gives(
        self, subject: Make, loss: Any, chance: float, formula: str
    ) -> None:
        decay = {"weight_decay": 1e9}  # which the first loss leaves out
        found = initial_loss.check(subject(loss=loss, network=TINY, optimizer=decay))
        assert found.verdict == "good"
        assert found.measured == pytest.approx(chance, rel=1e-3)
        assert formula in found.expected

    def test_large_weights_start_far_above_it(self, subject: Make) -> None:
        found = initial_loss.check(subject(network={"initializer": {"name": "normal", "std": 5}}))
        assert found.verdict == "wrong"
        assert found.measured > 3 * math.log(3)
        assert "smaller" in found.meaning

    def test_between_them_it_is_worth_a_look(self, subject: Make) -> None:
        std = {"name": "normal", "std": 0.75}
        found = initial_loss.check(subject(network={"hidden": [8], "initializer": std}))
        assert found.verdict == "look at it"

    def test_weights_that_overflow_are_a_finding(self, subject: Make) -> None:
        made = subject(network=HUGE)
        checks = {step.name: found for step, found in run(made, lambda text: None)}
        assert not math.isfinite(checks["initial_loss"].measured)
        for name in ("initial_loss", "regularization", "overfit", "learning_rate"):
            assert checks[name].verdict == "wrong", name


class TestRegularization:
    @pytest.mark.parametrize(
        ("optimizer", "formula"),
        [
            ({"weight_decay": 0.1}, "½λ‖W‖² = "),
            ({"weight_decay": 0.1, "l1": 0.01}, "½λ‖W‖² + λ₁Σ|W| = "),
            ({}, "½λ‖W‖² = "),
        ],
    )
    def test_the_loss_rises_by_the_penalty_of_the_weights(
        self, subject: Make, optimizer: dict[str, float], formula: str
    ) -> None:
        made = subject(optimizer=optimizer)
        found = regularization.check(made)
        weights = [
            w.astype(np.float64)
            for named in made.trainer(made.data.train, batch=12, steps=1).network.store.value_views
            for name, w in named.items()
            if name == "weight"
        ]
        decay = optimizer.get("weight_decay", 1.0)
        expected = sum(0.5 * decay * (w**2).sum() for w in weights)
        expected += sum(optimizer.get("l1", 0.0) * abs(w).sum() for w in weights)
        assert found.measured == pytest.approx(expected, rel=1e-5)
        assert found.expected.startswith(formula)
        assert found.verdict == "good"

    def test_decay_apart_from_the_loss_adds_nothing(self, subject: Make) -> None:
        optimizer = {"name": "adamw", "weight_decay": 0.1}
        found = regularization.check(subject({"optimizer": optimizer}))
        assert (found.verdict, found.measured) == ("good", 0.0)
        assert "apart" in found.meaning

    @pytest.mark.parametrize(("decay", "verdict"), [(5.0, "look at it"), (1e3, "wrong")])
    def test_a_penalty_that_drowns_the_data(
        self, subject: Make, decay: float, verdict: str
    ) -> None:
        found = regularization.check(subject(optimizer={"weight_decay": decay}))
        assert found.verdict == verdict
        assert "λ" in found.meaning

    def test_a_penalty_without_its_half_is_found(
        self, subject: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = Penalty.__call__
        monkeypatch.setattr(Penalty, "__call__", lambda self: 2 * right(self))
        assert regularization.check(subject()).verdict == "wrong"


class TestOverfit:
    def test_what_regularises_is_switched_off(self, subject: Make) -> None:
        layers = [
            {"name": "linear", "units": 16, "initializer": "he"},
            {"name": "relu"},
            {"name": "dropout", "rate": 0.9},
        ]
        loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.5}
        made = subject(
            {"network": {}, "layer": layers, "loss": loss}, optimizer={"weight_decay": 10.0}
        )
        found = overfit.check(made)
        assert found.verdict == "good"
        assert found.measured <= 0.01 * math.log(3)
        assert found.details["accuracy"] == 1

    def test_another_rate_is_found_where_the_scenarios_does_nothing(self, subject: Make) -> None:
        found = overfit.check(subject(optimizer={"learning_rate": 1e-9}))
        assert found.verdict == "good"
        assert found.details["learning_rate"] > 1e-3
        assert "the scenario's, 1e-09, does not" in found.meaning

    def test_the_scenarios_own_rate_is_taken_where_it_does(self, subject: Make) -> None:
        found = overfit.check(subject())
        assert found.details["learning_rate"] == 0.05
        assert "the scenario's" in found.meaning

    def test_a_network_that_starts_at_zero_cannot(self, subject: Make) -> None:
        found = overfit.check(subject(network=ZEROS))
        assert found.verdict == "wrong"
        assert found.details["accuracy"] < 1

    def test_examples_differ_and_classes_take_turns(self, subject: Make) -> None:
        made = subject(data={"samples": 400})
        train = made.data.train
        twice = Examples(np.concatenate([train.x] * 2), np.concatenate([train.y] * 2))
        few = overfit.few(replace(made, data=replace(made.data, train=twice)), 20)
        assert len(np.unique(few.x, axis=0)) == len(few) == 20
        assert set(np.bincount(few.y)) <= {6, 7}

    def test_fewer_examples_than_wanted_will_do(self, subject: Make) -> None:
        made = subject(data={"samples": 15, "batch_size": 4})
        assert len(overfit.few(made, 20)) == len(made.data.train) == 12


class TestGradients:
    def test_right_ones_are_good(self, subject: Make) -> None:
        found = gradients.check(subject(network={"batch_norm": True}))
        assert found.verdict == "good"
        assert found.measured < 1e-6

    def test_right_ones_of_a_collapsed_network_are_not_wrong(self, subject: Make) -> None:
        collapsed = {"hidden": [10, 10, 10], "initializer": {"name": "normal", "std": 1e-4}}
        found = gradients.check(subject(network=collapsed | {"activation": "relu"}))
        assert found.verdict == "good"
        left_out, elements = found.details["left_out"], found.details["elements"]
        assert left_out > 0
        assert f"{left_out} of {elements + left_out} elements left out" in found.shown
        assert "kink" in found.meaning

    def test_without_any_element_it_is_worth_a_look(
        self, subject: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        none = [ParameterCheck(1, "linear", "weight", 0, 0.0, 4)]
        monkeypatch.setattr(gradients, "check_gradients", lambda *_: none)
        found = gradients.check(subject())
        assert found.verdict == "look at it"
        assert found.meaning.startswith("No gradient could be checked.")

    def test_a_wrong_one_is_found_and_named(
        self, subject: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wrong(
            self: Tanh, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, *_: Array
        ) -> None:
            backend.xp.multiply(dy, 1 - y, out=dx)

        monkeypatch.setattr(Tanh, "backward", wrong)
        monkeypatch.setattr(
            "engine.backends.selection.kernels", lambda dtype: None
        )  # they ask no formula
        found = gradients.check(subject(network={"activation": "tanh"}))
        assert found.verdict == "wrong"
        assert "of layer 1 (linear)" in found.meaning or "of layer 3 (linear)" in found.meaning


class TestLearningRate:
    def test_it_goes_from_too_low_to_too_high(self, digits: Make) -> None:
        found = learning_rate.check(digits())
        verdicts = sweep(found)
        rates = sorted(verdicts)
        assert (verdicts[rates[0]], verdicts[rates[-1]]) == ("too low", "too high")
        assert found.verdict == verdicts[0.02] == "good"
        assert found.sweep is not None
        assert found.sweep.suggested is not None
        low, high = found.sweep.suggested
        assert 1e-3 < low < 0.01 < 0.05 < high < 0.5
        assert all((v == "good") == (low <= rate <= high) for rate, v in verdicts.items())

    @pytest.mark.parametrize(
        ("rate", "verdict", "word"),
        [
            (0.0, "wrong", "barely changes"),
            (1e-6, "wrong", "barely changes"),
            (1e-3, "look at it", "learns slowly"),
            (10.0, "wrong", "too high"),
            (1e6, "wrong", "too high"),
        ],
    )
    def test_the_scenarios_own_rate_is_judged(
        self, digits: Make, rate: float, verdict: str, word: str
    ) -> None:
        found = learning_rate.check(digits(f"optimizer.learning_rate={rate}"))
        assert found.verdict == verdict
        assert word in found.meaning
        assert found.measured == rate
        assert found.sweep is not None
        assert found.sweep.suggested is not None  # and it does not depend on the scenario's
        assert found.sweep.suggested[0] < 0.02 < found.sweep.suggested[1]

    def test_a_schedule_may_begin_lower(self, digits: Make) -> None:
        found = learning_rate.check(
            digits("optimizer.learning_rate=10.0", 'schedule={name="cosine",warm_up_steps=50}')
        )
        assert found.verdict == "look at it"
        assert "schedule" in found.meaning

    def test_where_no_rate_helps_it_says_so(self, digits: Make) -> None:
        deep = "network.hidden={depth=8,width=20}"
        found = learning_rate.check(digits(deep, 'network.initializer={name="normal",std=1e-3}'))
        assert found.verdict == "wrong"
        assert found.sweep is not None
        assert found.sweep.suggested is None
        assert "not the rate" in found.meaning

    def test_the_range_is_looked_for_where_it_is(self, digits: Make) -> None:
        large = 'data.preprocess=["zero_mean","scale(1000)"]'
        small = 'network.initializer={name="normal",std=1e-3}'
        found = learning_rate.check(digits(large, small, "network.hidden=[20]"))
        assert found.sweep is not None
        assert found.sweep.suggested is not None
        assert found.sweep.suggested[1] < 1e-4
        assert found.sweep.trials[0].rate < 1e-7
        assert found.sweep.trials[0].verdict == "too low"


class TestGeneralization:
    def test_a_healthy_network(self, digits: Make) -> None:
        found = generalization.check(digits())
        assert found.verdict == "good"
        assert 0 <= found.measured < 0.1

    def test_overfitting(self, digits: Make) -> None:
        found = generalization.check(digits("data.validation=0.97"))
        assert found.verdict == "look at it"
        assert found.measured > 0.1
        assert "Overfitting" in found.meaning

    def test_underfitting(self, digits: Make) -> None:
        found = generalization.check(digits("network.hidden=[1]"))
        assert found.verdict == "look at it"
        assert "Underfitting" in found.meaning

    def test_nothing_learnt_and_diverged(self, digits: Make) -> None:
        still = generalization.check(digits("optimizer.learning_rate=0.0"))
        assert still.verdict == "wrong"
        assert "most common class" in still.meaning
        apart = generalization.check(digits("optimizer.learning_rate=1e6"))
        assert apart.verdict == "wrong"
        assert "diverges" in apart.meaning

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_a_run_of_few_steps_is_not_judged_hard(self, digits: Make, steps: int) -> None:
        found = generalization.check(digits(f"train.steps={steps}"))
        assert found.passed
        assert found.details["steps"] == steps

    def test_without_a_validation_split(self, digits: Make) -> None:
        found = generalization.check(digits("data.validation=0.0"))
        assert found.verdict == "look at it"
        assert "data.validation" in found.meaning


def test_every_step_leaves_data_and_weights_as_they_were(subject: Make) -> None:
    made = subject(network={"batch_norm": True})
    x, y = made.data.train.x.copy(), made.data.train.y.copy()
    first = [step.run(made) for step in CHECKS]
    assert (made.data.train.x == x).all()
    assert (made.data.train.y == y).all()
    assert [step.run(made) for step in CHECKS] == first  # a pure function
