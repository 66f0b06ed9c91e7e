"""Layers that replace an activation: PReLU and maxout."""

import numpy as np
import pytest

from engine.activations import Tanh
from engine.backends.base import Backend
from engine.errors import ConfigError, ShapeError
from engine.initializers import He
from engine.layers.base import Layer
from engine.layers.maxout import Maxout
from engine.layers.prelu import PReLU
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, activation_choices, mlp
from engine.optimization.optimizers import SGD
from engine.training.trainer import Trainer
from engine.training.training_step import TrainingStep
from tests.engine.conftest import BindLayer
from tests.engine.optimization.test_optimizers import EXAMPLES
from tests.engine.training.test_trainer import blobs
from tests.engine.variants import LAYERED, name


@pytest.mark.parametrize("per_unit", [False, True])
def test_the_slope_of_prelu_is_learned_and_does_not_decay(backend: Backend, per_unit: bool) -> None:
    network = BoundNetwork.of(
        mlp([5], 3, activation=PReLU(per_unit=per_unit), initializer=He()),
        (20, 6),
        backend,
        generator=np.random.default_rng(0),
    )
    slope = network.store.value_views[1]["slope"]
    assert backend.to_host(slope).tolist() == [0.25] * (5 if per_unit else 1)
    assert network.store.decaying == 6 * 5 + 5 * 3
    optimizer = SGD(0.1)
    step = TrainingStep(
        network,
        SoftmaxCrossEntropy(),
        optimizer,
        optimizer.hyperparameters(),
        EXAMPLES,
        probes=False,
    )
    step.take(np.arange(20))
    step.gradients()
    step.update()
    assert (backend.to_host(slope) != 0.25).all()


def test_maxout_takes_the_largest_piece_and_gives_the_first_of_equal_ones_the_gradient(
    backend: Backend, bind_layer: BindLayer
) -> None:
    bound, _ = bind_layer(Maxout(3), (2, 6))
    x = np.array([[1.0, 5, 2, 5, 0, 4], [7, -1, 7, -2, 7, -1]])
    y = backend.to_host(bound.forward(backend.to_device(x), True))
    assert y.tolist() == [[2, 5], [7, -1]]
    dx = backend.to_host(bound.backward(backend.to_device(np.array([[10.0, 20], [30, 40]]))))
    assert dx.tolist() == [[0, 20, 10, 0, 0, 0], [30, 40, 0, 0, 0, 0]]


@pytest.mark.parametrize("layer", LAYERED, ids=name)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_they_are_shown_as_the_activation_of_their_layer(layer: Layer, batch_norm: bool) -> None:
    pieces = layer.inputs_per_unit
    network = mlp([5, 4], 3, activation=layer, initializer=He(), batch_norm=batch_norm)
    infos = [group.info for group in network.groups((6,))]
    assert [(i.name, i.activation, i.kind, i.units) for i in infos] == [
        (layer.kind, layer.kind, "linear", 5),
        (layer.kind, layer.kind, "linear", 4),
        ("output", "identity", "linear", 3),
    ]
    assert infos[0].parameters >= pieces * 5 * 6
    trainer = Trainer(network, blobs(), optimizer=SGD(0.1), batch_size=20, steps=40)
    frames = list(trainer.frames(interval=0))
    shot = next(frame.snapshot for frame in frames if frame.snapshot)
    assert shot.field("pre_activation", "count")[0] == 20 * 5 * pieces
    assert shot.field("activation", "count").tolist() == [20 * 5, 20 * 4, 20 * 3]
    assert (shot.dead_fraction == 0).all()
    assert frames[-1].loss[-1] < frames[0].loss[0]


def test_a_network_may_have_any_activation_and_these_layers() -> None:
    choices = activation_choices()
    assert {"relu", "gelu", "prelu", "maxout"} <= set(choices)
    assert not {"linear", "batch_norm", "activation"} & set(choices)
    assert choices.name_of(Maxout()) == "maxout"
    assert choices.name_of(Tanh()) == "tanh"


def test_settings_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        Maxout(1)
    with pytest.raises(ConfigError, match="finite"):
        PReLU(float("nan"))
    for shape in ((5,), (2, 2)):
        with pytest.raises(ShapeError, match="2 pieces"):
            Maxout().output_shape(shape)
