"""Batch normalisation that starts as the identity: γ and β undo it (lecture 6)."""

from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine.activations import Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.commands import Command
from engine.data.augmentation import HorizontalFlip
from engine.data.dataset import Dataset, Examples
from engine.errors import ConfigError
from engine.initializers import Normal
from engine.layers.base import start_row
from engine.layers.batch_norm import BatchNorm
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.residual import Residual
from engine.network import BoundNetwork, Network, mlp
from engine.optimization.optimizers import SGD
from engine.training.gradcheck import check_parameters
from engine.training.trainer import Trainer
from tests.engine.conftest import Array, BindLayer
from tests.engine.training.test_trainer import blobs

IDENTITY = BatchNorm(start="identity")
EXACT = {"float64": 1e-12, "float32": 1e-5}


def bound(batch_norm: BatchNorm | bool, std: float, dtype: str) -> BoundNetwork:
    network = mlp([8, 8, 8], 3, activation=Tanh(), initializer=Normal(std), batch_norm=batch_norm)
    backend = make_backend("numpy", dtype)
    return BoundNetwork.of(network, (20, 6), backend, generator=np.random.default_rng(0))


def trainer(network: Network, data: Dataset, **settings: object) -> Trainer:
    chosen = {"optimizer": SGD(0.05), "batch_size": 20, "steps": 3} | settings
    backend = make_backend("numpy", "float64")
    return Trainer(network, data, backend=backend, **chosen)  # type: ignore[arg-type]


def weights(trained: Trainer) -> Array:
    for _ in trained.frames(interval=0):
        pass
    return np.array(trained.network.store.values)


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("std", [0.01, 0.3, 3.0])
def test_the_first_step_is_that_of_the_plain_network(std: float, dtype: str) -> None:
    plain, normed = bound(False, std, dtype), bound(IDENTITY, std, dtype)
    x = np.random.default_rng(1).normal(2, 3, (20, 6)).astype(dtype)
    expected = plain.forward(x, True).copy()
    atol = EXACT[dtype] * float(np.abs(expected).max())
    scores = [start_row(normed.bound, x).copy()]
    scores += [normed.forward(x, training).copy() for training in (False, True)]
    for each in scores:
        np.testing.assert_allclose(each, expected, rtol=EXACT[dtype], atol=atol)
    assert np.abs(bound(True, std, dtype).forward(x, True) - expected).max() > 0.01


def test_gamma_and_beta_are_those_of_the_first_batch(
    backend: Backend, bind_layer: BindLayer
) -> None:
    layer, store = bind_layer(IDENTITY, (30, 4))
    x = np.random.default_rng(0).normal(5, [0.1, 1, 2, 30], (30, 4))
    assert layer.start is not None
    y = backend.to_host(layer.start(backend.to_device(x)))
    np.testing.assert_allclose(y, x, rtol=1e-12)
    gamma, beta = (backend.to_host(store.value_views[0][name]) for name in ("gamma", "beta"))
    np.testing.assert_allclose(gamma, np.sqrt(x.var(axis=0) + IDENTITY.epsilon))
    np.testing.assert_allclose(beta, x.mean(axis=0))


def test_a_trainer_starts_it_with_its_first_batch_before_the_first_snapshot() -> None:
    def start(batch_norm: BatchNorm | bool) -> Iterator[float]:
        network = mlp([8, 8], 3, activation=Tanh(), initializer=Normal(0.1), batch_norm=batch_norm)
        (first, *_) = trainer(network, blobs()).frames(interval=0)
        assert first.snapshot is not None
        yield from first.loss
        yield from first.snapshot.field("activation", "std")
        yield from (first.validations[0].loss, first.validations[0].accuracy)

    assert list(start(IDENTITY)) == pytest.approx(list(start(False)), rel=1e-10)
    assert list(start(True)) != pytest.approx(list(start(False)), rel=1e-2)


def test_it_learns_from_there_as_any_other() -> None:
    network = mlp([8], 3, activation=Tanh(), initializer=Normal(0.1), batch_norm=IDENTITY)
    made = trainer(network, blobs(), steps=60)
    before = made.network.store.value_views[1]["gamma"].copy()
    losses = [float(loss) for frame in made.frames(interval=0) for loss in frame.loss]
    assert losses[-1] < losses[0] / 2
    assert (made.network.store.value_views[1]["gamma"] != before).all()


def test_its_gradients_agree_with_centred_differences() -> None:
    network = mlp([5, 4], 3, activation=Tanh(), initializer=Normal(0.5), batch_norm=IDENTITY)
    made = trainer(network, blobs())
    made.training_step.take(np.arange(20))
    made.training_step.start()
    checks = check_parameters(made.training_step, np.arange(20), elements=10)
    assert {check.name for check in checks} == {"weight", "bias", "gamma", "beta"}
    assert max(check.error for check in checks) < 1e-6


def test_a_residual_block_starts_what_is_inside() -> None:
    inside = (Linear(6, Normal(0.5), None), IDENTITY, Nonlinearity(Tanh()))
    plain = Network([Residual((inside[0], inside[2])), Linear(3, Normal(0.5))])
    normed = Network([Residual(inside), Linear(3, Normal(0.5))])
    losses = [next(trainer(n, blobs()).frames(interval=0)).loss[0] for n in (plain, normed)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


@pytest.mark.parametrize("start", ["normalized", "identity"])
def test_probes_change_nothing(start: str) -> None:
    norm = BatchNorm(start=start)  # type: ignore[arg-type]
    network = mlp([8], 3, activation=Tanh(), initializer=Normal(0.1), batch_norm=norm)
    with_probes = weights(trainer(network, blobs()))
    np.testing.assert_array_equal(with_probes, weights(trainer(network, blobs(), probes=False)))


def test_the_start_draws_nothing_on_its_account() -> None:
    """Masks, shuffles and flips are those of the same network that starts normalised."""

    def drawn(start: str) -> Mapping[str, Any]:
        norm = BatchNorm(start=start)  # type: ignore[arg-type]
        network = Network([Linear(12, Normal(0.1)), Dropout(0.5), norm, Linear(3, Normal(0.1))])
        x = np.random.default_rng(0).normal(size=(60, 12))
        data = Dataset("images", ("a", "b", "c"), Examples(x, np.arange(60) % 3), None, (1, 3, 4))
        inbox: SimpleQueue[Command] = SimpleQueue()
        inbox.put(Command("stop"))
        made = trainer(network, data, augment=[HorizontalFlip(0.5)])
        list(made.frames(inbox, interval=0))
        return made.checkpoint().generators

    assert drawn("identity") == drawn("normalized")


def test_another_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'identity'"):
        BatchNorm(start="identiy")  # type: ignore[arg-type]
