"""Forwards, backwards and ten steps of training against PyTorch, in float64 to 1e-10."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.activations import activations
from engine.backend import make_backend
from engine.data.dataset import Dataset, Examples
from engine.initializers import Normal
from engine.network import mlp
from engine.optimizers import SGD
from engine.step import TrainingStep

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.parity

CASES = [
    (activation, batch_norm, momentum, decay)
    for activation in activations
    for batch_norm in (False, True)
    for momentum, decay in ((0.0, 0.0), (0.9, 0.01))
]
TORCH = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "identity": "Identity"}


def torch_twin(network: Any, widths: list[int], activation: str, batch_norm: bool) -> Any:
    """Build the same network in PyTorch, with the same parameters."""
    row: list[Any] = []
    for position, (inputs, units) in enumerate(pairwise(widths)):
        last = position == len(widths) - 2
        row.append(torch.nn.Linear(inputs, units, bias=last or not batch_norm))
        if not last:
            row += [torch.nn.BatchNorm1d(units)] if batch_norm else []
            row.append(getattr(torch.nn, TORCH[activation])())
    twin = torch.nn.Sequential(*row).double()
    with torch.no_grad():
        for layer, views in zip(twin, network.store.value_views, strict=True):
            for ours, theirs in (("weight", "weight"), ("gamma", "weight")):
                if ours in views:
                    values = views[ours].T if ours == "weight" else views[ours]
                    getattr(layer, theirs).copy_(torch.from_numpy(values.copy()))
            for ours in ("bias", "beta"):
                if ours in views:
                    layer.bias.copy_(torch.from_numpy(views[ours].copy()))
    return twin


@pytest.mark.parametrize(("activation", "batch_norm", "momentum", "decay"), CASES)
def test_ten_steps_equal_those_of_pytorch(
    activation: str, batch_norm: bool, momentum: float, decay: float
) -> None:
    generator = np.random.default_rng(0)
    examples = Examples(generator.normal(size=(40, 12)), generator.integers(0, 4, 40))
    data = Dataset("test", ("a", "b", "c", "d"), examples, None)
    network = mlp(
        [16, 9],
        4,
        activation=activations[activation](),
        initializer=Normal(0.4),
        batch_norm=batch_norm,
    ).bind((20, 12), make_backend("numpy", "float64"), generator=generator)
    twin = torch_twin(network, [12, 16, 9, 4], activation, batch_norm)
    optimizer = SGD(0.1, weight_decay=decay, momentum=momentum)
    hyper = optimizer.hyperparameters()
    from engine.losses import SoftmaxCrossEntropy

    step = TrainingStep(network, SoftmaxCrossEntropy(), optimizer, hyper, data.train, probes=True)
    weights = [p for p in twin.parameters() if p.ndim == 2]
    others = [p for p in twin.parameters() if p.ndim == 1]
    theirs = torch.optim.SGD(
        [{"params": weights, "weight_decay": decay}, {"params": others}], 0.1, momentum
    )
    for number in range(10):
        rows = np.arange(20) + 20 * (number % 2)
        step.rows(rows)
        result = step.gradients()
        step.update()
        theirs.zero_grad()
        scores = twin(torch.from_numpy(examples.x[rows]))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(examples.y[rows]))
        loss.backward()
        penalty = 0.5 * decay * sum((p.detach() ** 2).sum().item() for p in weights)
        theirs.step()
        assert abs(result.data_loss - loss.item()) < 1e-10
        assert abs(result.loss - loss.item() - penalty) < 1e-10
        if number == 4:  # a change of the learning rate acts alike with momentum under way
            hyper["learning_rate"] = 0.03
            for group in theirs.param_groups:
                group["lr"] = 0.03
    for layer, views in zip(twin, network.store.value_views, strict=True):
        for name, values in views.items():
            twin_name = {"gamma": "weight", "beta": "bias"}.get(name, name)
            expected = getattr(layer, twin_name).detach().numpy()
            expected = expected.T if name == "weight" else expected
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10)
    if batch_norm:
        twin.eval()
        np.testing.assert_allclose(
            network.rebind(40).forward(examples.x, False),
            twin(torch.from_numpy(examples.x)).detach().numpy(),
            rtol=0,
            atol=1e-10,
        )
