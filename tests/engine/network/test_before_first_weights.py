"""Parameters before the first weights learn: in PyTorch's way, on every path of a step."""

from typing import Any

import numpy as np
import pytest

from engine.activations import ReLU, Tanh
from engine.backends import NumPyBackend, make_backend
from engine.commands import Command
from engine.initializers import He, Normal
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.layer_norm import LayerNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.prelu import PReLU
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network
from engine.network import batch_shards as shards
from engine.optimization.optimizers import SGD
from engine.training.trainer import Trainer
from tests.engine.cuda_graph.test_training import both
from tests.engine.training.test_trainer import blobs

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

BATCH, FEATURES, CLASSES = 24, 6, 3
NAMES = {"gamma": "weight", "beta": "bias", "slope": "weight"}
FIRST: list[Layer] = [
    BatchNorm(), LayerNorm(), PReLU(), PReLU(0.1, per_unit=True),
    Nonlinearity(Tanh()), Nonlinearity(ReLU()), Flatten(),
]  # fmt: skip
NETWORKS: dict[str, list[Layer]] = {
    "batch norm": [BatchNorm(), Linear(CLASSES)],
    "layer norm": [LayerNorm(), Linear(CLASSES)],
    "prelu": [PReLU(per_unit=True), Linear(CLASSES)],
    "several": [
        Flatten(), LayerNorm(), Nonlinearity(Tanh()), BatchNorm(), PReLU(),
        Linear(5), Linear(CLASSES),
    ],
    "images": [
        Image(1, 2, 3), BatchNorm(), Conv2d(4, padding=1), Flatten(), PReLU(), Linear(CLASSES),
    ],
    "before a block": [
        BatchNorm(), Residual((Nonlinearity(ReLU()), Linear(FEATURES, He()))), Linear(CLASSES),
    ],
    "in a block": [Residual((PReLU(), BatchNorm(), Linear(FEATURES, He()))), Linear(CLASSES)],
}  # fmt: skip


def random_network(generator: np.random.Generator) -> list[Layer]:
    """Draw a network with up to three layers before the first weights, one of which learns."""
    count = generator.integers(0, 3)
    before = [FIRST[at] for at in generator.integers(0, len(FIRST), count)]
    before.insert(int(generator.integers(0, count + 1)), FIRST[generator.integers(0, 4)])
    return [*before, Linear(7, Normal(0.4)), Nonlinearity(Tanh()), Linear(CLASSES, Normal(0.4))]


def twin(layer: Layer, shape: tuple[int, ...]) -> Any:
    """Return a layer over flat inputs in PyTorch, with its default parameters."""
    size = shape[0]
    match layer:
        case Linear():
            return torch.nn.Linear(size, layer.units)
        case BatchNorm():
            return torch.nn.BatchNorm1d(size)
        case LayerNorm():
            return torch.nn.LayerNorm(size)
        case PReLU():
            return torch.nn.PReLU(size if layer.per_unit else 1)
        case Nonlinearity():
            return torch.nn.Tanh() if isinstance(layer.activation, Tanh) else torch.nn.ReLU()
    return torch.nn.Flatten()


def bind(row: list[Layer], backend: Any) -> BoundNetwork:
    """Bind a network with generic parameters: γ = 1 and β = 0 would hide a missing term."""
    generator = np.random.default_rng(0)
    network = BoundNetwork.of(Network(row), (BATCH, FEATURES), backend, generator=generator)
    network.store.values[...] += generator.normal(0, 0.1, network.store.values.shape)
    return network


def batch() -> tuple[Any, Any]:
    generator = np.random.default_rng(1)
    return generator.normal(1.0, 2.0, (BATCH, FEATURES)), generator.integers(0, CLASSES, BATCH)


def pass_through(network: BoundNetwork) -> tuple[Any, Any]:
    """Return the scores and all gradients of a batch."""
    x, y = batch()
    loss = SoftmaxCrossEntropy().bind((CLASSES,), BATCH, network.backend)
    scores = network.forward(x, True).copy()
    loss.forward(scores, y)
    network.backward(loss.backward())
    return scores, network.store.gradients.copy()


@pytest.mark.parity
@pytest.mark.parametrize("path", ["formulas", "kernels", "threads"])
@pytest.mark.parametrize("seed", range(20))
def test_random_networks_are_those_of_pytorch(
    seed: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "ROWS", 2)
    monkeypatch.setattr(shards, "ELEMENTS", 1)
    compiled = make_backend("numpy", "float64", 3 if path == "threads" else 1)
    backend = NumPyBackend("float64") if path == "formulas" else compiled
    network = bind(random_network(np.random.default_rng(seed)), backend)
    assert (network.shards is not None) == (path == "threads")
    pairs = list(zip(network.network.layers, network.shapes, strict=False))
    theirs = torch.nn.Sequential(*(twin(layer, shape) for layer, shape in pairs)).double()
    parameters = [
        (getattr(module, NAMES.get(name, name)), values, gradients[name])
        for module, views, gradients in zip(
            theirs, network.store.value_views, network.store.gradient_views, strict=True
        )
        for name, values in views.items()
    ]
    with torch.no_grad():
        for parameter, values, _ in parameters:
            parameter.copy_(torch.from_numpy(values.T.copy()))
    scores, _ = pass_through(network)
    x, y = (torch.from_numpy(each) for each in batch())
    expected = theirs(x)
    torch.nn.functional.cross_entropy(expected, y).backward()
    np.testing.assert_allclose(scores, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for parameter, _, gradient in parameters:
        found = parameter.grad.numpy()
        np.testing.assert_allclose(gradient.T, found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_as_a_graph_trains_them_too(name: str) -> None:
    ours, _ = both(Network(NETWORKS[name]), optimizer=SGD(0.05, momentum=0.9))
    drawn = Trainer(Network(NETWORKS[name]), blobs(), backend=ours.backend, batch_size=20, steps=1)
    first = ours.network.first_trained
    for key, value in ours.network.store.value_views[first].items():
        assert np.abs(value - drawn.network.store.value_views[first][key]).max() > 1e-4, key


def test_they_are_frozen_with_the_first_layer() -> None:
    trainer = Trainer(Network([BatchNorm(), *NETWORKS["several"]]), blobs(), batch_size=20, steps=5)
    trainer._apply(Command("freeze", layer=1))
    before = [values.copy() for values in leading(trainer)]
    for _ in trainer.frames():
        pass
    assert all((old == new).all() for old, new in zip(before, leading(trainer), strict=True))


def leading(trainer: Trainer) -> list[Any]:
    """Return the parameters up to those of the first layer with weights."""
    views = trainer.network.store.value_views[: trainer.network.network.boundaries[1]]
    return [values for named in views for values in named.values()]


def test_the_input_gradient_is_computed_only_where_parameters_need_it() -> None:
    backend = make_backend("numpy", "float64")
    plain = bind([Flatten(), Nonlinearity(Tanh()), Linear(4), Linear(CLASSES)], backend)
    assert plain.first_trained == 2
    assert [len(bound.input_gradient) for bound in plain.bound] == [0, 0, 0, BATCH]
    begins = bind([Flatten(), BatchNorm(), Linear(4), Linear(CLASSES)], backend)
    assert begins.first_trained == 1
    assert [len(bound.input_gradient) for bound in begins.bound] == [0, BATCH, BATCH, BATCH]
