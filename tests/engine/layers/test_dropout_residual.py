"""Layers that act differently in training, and layers in layers."""

import numpy as np
import pytest

from engine.activations import Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.data.dataset import Dataset, Examples
from engine.errors import ConfigError, ShapeError
from engine.initializers import He, Normal
from engine.layers.base import Scope
from engine.layers.batch_norm import BatchNorm
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.residual import Residual
from engine.network import Network
from engine.optimization.optimizers import SGD
from engine.training.gradcheck import numerical_gradient, relative_error
from engine.training.trainer import Trainer
from tests.engine.conftest import Array, BindLayer
from tests.engine.training.test_trainer import blobs


def dropout(rate: float, hyper: dict[str, float]) -> tuple[Array, Array]:
    backend = make_backend("numpy", "float64")
    scope = Scope(backend, 400, {}, {}, {}, hyper=hyper, noise=np.random.default_rng(0))
    bound = Dropout(rate).bind((50,), scope)
    x = np.full((400, 50), 2.0)
    y = bound.forward(x, True).copy()
    return y, bound.backward(np.ones((400, 50)))


def test_dropout_keeps_the_mean_and_passes_gradients_where_it_passed_values() -> None:
    y, dx = dropout(0.25, {})
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert y.mean() == pytest.approx(2, abs=0.05)
    np.testing.assert_array_equal(y, 2 * dx)


def test_dropout_reads_its_rate_at_every_step() -> None:
    assert (dropout(0.25, {"dropout": 0.75})[0] == 0).mean() == pytest.approx(0.75, abs=0.01)
    assert (dropout(0.25, {"dropout": 0.0})[0] == 2).all()


def test_dropout_does_nothing_at_evaluation() -> None:
    bound = Dropout(0.5).bind((3,), Scope(make_backend("numpy"), 2, {}, {}, {}))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(bound.forward(x, False), x)


def network(*layers: Linear | Residual | Dropout | Nonlinearity) -> Network:
    return Network([Linear(6, He()), *layers, Linear(3, He())])


def trained(network: Network, data: Dataset, *, probes: bool = True) -> Trainer:
    trainer = Trainer(
        network, data, optimizer=SGD(0.05), batch_size=20, steps=25, seed=1, probes=probes
    )
    for _ in trainer.frames(interval=0):
        pass
    return trainer


def test_dropout_is_a_hyper_parameter_and_its_masks_do_not_depend_on_probes() -> None:
    ends = []
    for probes in (True, False):
        trainer = trained(network(Nonlinearity(), Dropout(0.3)), blobs(), probes=probes)
        assert trainer.hyperparameters["dropout"] == 0.3
        with pytest.raises(ConfigError):
            trainer.hyperparameters.validate("dropout", 1.0)
        ends.append(trainer.network.store.values.copy())
    np.testing.assert_array_equal(*ends)


BLOCK = Residual((Linear(4, Normal(0.5)), BatchNorm(), Nonlinearity(Tanh()), Linear(5)))


def test_a_residual_block_agrees_with_centred_differences(
    bind_layer: BindLayer, backend: Backend
) -> None:
    bound, store = bind_layer(BLOCK, (6, 5))
    x = np.random.default_rng(0).normal(size=(6, 5))
    weights = np.random.default_rng(3).normal(size=(6, 5))
    values = backend.to_host(store.values).copy()

    def f() -> float:
        store.values[...] = backend.to_device(values)
        y = bound.forward(backend.to_device(x), True)
        return float((backend.to_host(y) * weights).sum())

    f()
    dx = backend.to_host(bound.backward(backend.to_device(weights))).copy()
    gradients = backend.to_host(store.gradients).copy()
    assert relative_error(dx, numerical_gradient(f, x)) < 1e-7
    assert relative_error(gradients, numerical_gradient(f, values)) < 1e-7


def test_a_residual_block_of_zero_weights_is_the_identity(
    bind_layer: BindLayer, backend: Backend
) -> None:
    bound, store = bind_layer(BLOCK, (6, 5))
    store.values[...] = 0
    x = np.random.default_rng(0).normal(size=(6, 5))
    y = bound.forward(backend.to_device(x), True)
    np.testing.assert_array_equal(backend.to_host(y), x)


def test_a_residual_block_must_keep_the_shape_and_have_weights() -> None:
    with pytest.raises(ShapeError, match=r"\(5,\) to its output \(4,\)"):
        Residual((Linear(4),)).output_shape((5,))
    with pytest.raises(ConfigError, match="has weights"):
        Residual((Nonlinearity(),))


def test_a_network_with_a_residual_block_is_measured_at_its_own_weights() -> None:
    data = blobs()
    inner = Residual((Linear(4, Normal(0.5)), Nonlinearity(), Linear(6, Normal(0.5))))
    trainer = trained(network(inner, Nonlinearity()), data)
    assert [(i.kind, i.units) for i in trainer.layers] == [
        ("linear", 6),
        ("residual", 6),
        ("linear", 3),
    ]
    weight = trainer.network.store.value_views[1]["weight"]
    assert weight.shape == (6, 4)
    before = weight.copy()
    probes = trainer.training_step.probes
    assert probes is not None
    trainer.training_step.take(np.arange(20))
    trainer.training_step.gradients()
    probes.start()
    trainer.training_step.update()
    snapshot = probes.finish(0, 0.0)
    change = np.linalg.norm((weight - before).astype(np.float64))
    assert snapshot.field("update", "norm")[1] == pytest.approx(change, rel=1e-5)


def test_examples_are_only_read() -> None:
    data = blobs()
    x = data.train.x.copy()
    frozen = Dataset(data.name, data.classes, Examples(data.train.x, data.train.y), data.validation)
    frozen.train.x.flags.writeable = False
    trained(network(BLOCK_OF_SIX, Nonlinearity()), frozen)
    np.testing.assert_array_equal(frozen.train.x, x)


BLOCK_OF_SIX = Residual((Linear(6),))
