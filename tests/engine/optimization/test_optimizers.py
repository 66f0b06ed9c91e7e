"""Optimisers and regularisation: what changes live, what is kept, what is exempt."""

from typing import Any

import numpy as np
import pytest

from engine.activations import Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.data.dataset import Examples
from engine.errors import ConfigError
from engine.initializers import Normal
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.residual import Residual
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network, mlp
from engine.optimization.optimizers import SGD, Adam, Optimizer, optimizers
from engine.training.training_step import TrainingStep
from tests.engine.conftest import Array
from tests.engine.variants import CHANGED, OPTIMIZERS, name

EXAMPLES = Examples(
    np.random.default_rng(0).normal(size=(20, 6)), np.random.default_rng(1).integers(0, 3, 20)
)


class Run:
    """A small network under way, all examples in each step."""

    def __init__(
        self, optimizer: Optimizer, backend: Backend | None = None, network: Network | None = None
    ) -> None:
        backend = backend or make_backend("numpy", "float64")
        plain = mlp(
            [9, 7], 3, activation=Tanh(), initializer=Normal(0.5), bias=0.3, batch_norm=True
        )
        self.network: BoundNetwork = BoundNetwork.of(
            network or plain,
            (20, 6),
            backend,
            generator=np.random.default_rng(0),
        )
        self.hyper = optimizer.hyperparameters()
        self.step = TrainingStep(
            self.network, SoftmaxCrossEntropy(), optimizer, self.hyper, EXAMPLES, probes=False
        )
        self.step.take(np.arange(20))

    def steps(self, number: int) -> "Run":
        for _ in range(number):
            self.step.gradients()
            self.step.update()
        return self

    @property
    def values(self) -> Array:
        return self.network.backend.to_host(self.network.store.values)

    def named(self, wanted: str) -> list[Array]:
        return [views[wanted] for views in self.network.store.value_views if wanted in views]


EVERY_KEY = [(optimizer, key) for optimizer in OPTIMIZERS for key in optimizer.hyperparameters()]


@pytest.mark.parametrize(("optimizer", "key"), EVERY_KEY, ids=name)
def test_every_hyperparameter_acts_when_changed_and_what_is_remembered_stays(
    optimizer: Optimizer, key: str
) -> None:
    run, unchanged = Run(optimizer).steps(3), Run(optimizer).steps(3)
    kept = {k: (v, v.copy()) for k, v in run.step.optimizer.state.items()}
    value = CHANGED.get(key, 0.05)
    run.hyper.validate(key, value)
    run.hyper[key] = value
    for array, before in kept.values():
        np.testing.assert_array_equal(array, before)
    assert (run.steps(2).values != unchanged.steps(2).values).any()
    assert all(run.step.optimizer.state[k] is array for k, (array, _) in kept.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
def test_state_and_parameters_are_all_that_must_be_saved(optimizer: Optimizer) -> None:
    first, second = Run(optimizer).steps(4), Run(optimizer)
    second.network.store.values[...] = first.network.store.values
    second.network.store.state[...] = first.network.store.state
    for key, array in first.step.optimizer.state.items():
        second.step.optimizer.state[key][...] = array
    np.testing.assert_array_equal(first.steps(3).values, second.steps(3).values)


@pytest.mark.parametrize("member", list(optimizers))
def test_every_optimiser_learns(member: str) -> None:
    run = Run(optimizers[member](learning_rate=0.1))
    before = run.step.gradients().data_loss
    run.steps(200)
    assert run.step.gradients().data_loss < 0.5 * before


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
def test_blocks_make_no_difference(optimizer: Optimizer, request: pytest.FixtureRequest) -> None:
    whole = Run(optimizer).steps(3).values
    request.getfixturevalue("small_blocks")
    np.testing.assert_allclose(Run(optimizer).steps(3).values, whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("key", ["weight_decay", "l1"])
@pytest.mark.parametrize("member", list(optimizers))
def test_a_penalty_shrinks_weights_only_and_is_told_apart(member: str, key: str) -> None:
    plain, run = (
        Run(optimizers[member](**{"learning_rate": 0.01, "weight_decay": 0.0} | extra))
        for extra in ({}, {key: 0.1})
    )
    result, without = run.step.gradients(), plain.step.gradients()
    assert result.data_loss == without.data_loss
    weights = np.concatenate([w.reshape(-1) for w in run.named("weight")])
    added = {"weight_decay": 0.05 * (weights**2).sum(), "l1": 0.1 * np.abs(weights).sum()}[key]
    decoupled = optimizers[member].decoupled and key == "weight_decay"
    assert result.loss - result.data_loss == pytest.approx(0 if decoupled else added)
    assert without.loss == without.data_loss
    decaying = run.network.store.decaying
    gradients = [r.network.store.gradients for r in (run, plain)]
    np.testing.assert_array_equal(gradients[0][decaying:], gradients[1][decaying:])
    run.step.update()
    plain.step.update()
    for wanted in ("bias", "gamma", "beta"):
        for ours, others in zip(run.named(wanted), plain.named(wanted), strict=True):
            np.testing.assert_array_equal(ours, others)
    assert (run.values[:decaying] != plain.values[:decaying]).any()


@pytest.mark.parametrize("limit", [0.2, 1.0])
def test_max_norm_scales_the_weights_of_a_unit_back_and_leaves_the_others(
    limit: float, small_blocks: None
) -> None:
    free, held = Run(SGD(0.5)).steps(1), Run(SGD(0.5, max_norm=limit)).steps(1)
    bound = 0
    for weight, found in zip(free.named("weight"), held.named("weight"), strict=True):
        norm = np.sqrt((weight**2).sum(axis=0))
        bound += (norm > limit).sum()
        np.testing.assert_allclose(found, weight * np.minimum(1, limit / norm), rtol=1e-13)
    assert bound > 0
    for wanted in ("bias", "gamma", "beta"):
        for ours, theirs in zip(held.named(wanted), free.named(wanted), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("limit", [0.2, 1.0])
def test_max_norm_limits_every_weight_inside_a_layer(limit: float, small_blocks: None) -> None:
    inside = Linear(8, Normal(0.5)), BatchNorm(), Residual((Linear(8, Normal(0.5)),)), Linear(6)
    row = [Linear(6, Normal(0.5)), Residual(inside), Linear(3, Normal(0.5))]
    free, held = (
        Run(SGD(0.5, max_norm=value), network=Network(row)).steps(1) for value in (0.0, limit)
    )
    limited = []
    for free_views, views in zip(
        free.network.store.value_views, held.network.store.value_views, strict=True
    ):
        for key, value in free_views.items():
            if value.ndim == 2:
                norm = np.sqrt((value**2).sum(axis=0))
                limited.append((norm > limit).any())
                value = value * np.minimum(1, limit / norm)
            np.testing.assert_allclose(views[key], value, rtol=1e-13, err_msg=key)
    assert len(limited) == 5
    assert all(limited) or limit == 1.0


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"beta1": 1.0}, "beta1"),
        ({"beta2": -0.1}, "beta2"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"l1": -1.0}, "l1"),
        ({"clip_norm": float("inf")}, "clip_norm"),
    ],
)
def test_settings_are_checked_at_once_and_when_changed(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as error:
        Adam(**settings)
    assert error.value.path == path
    with pytest.raises(ConfigError):
        Adam().hyperparameters().validate(path, settings[path])
