"""A network of ours and the same one in PyTorch, trained side by side in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from engine.activations import Activation, Tanh, activations
from engine.backend import make_backend
from engine.data.dataset import Examples
from engine.initializers import Normal
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network import BoundNetwork, mlp
from engine.optimizers import SGD, Hyperparameters, Optimizer
from engine.step import TrainingStep

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

TOLERANCE: Final = 1e-10
WIDTHS: Final = (12, 16, 9, 4)
TORCH: Final[dict[str, Callable[[Any], Any]]] = {
    "identity": lambda f: torch.nn.Identity(),
    "relu": lambda f: torch.nn.ReLU(),
    "leaky_relu": lambda f: torch.nn.LeakyReLU(f.slope),
    "elu": lambda f: torch.nn.ELU(f.alpha),
    "selu": lambda f: torch.nn.SELU(),
    "tanh": lambda f: torch.nn.Tanh(),
    "sigmoid": lambda f: torch.nn.Sigmoid(),
    "softplus": lambda f: torch.nn.Softplus(),
    "silu": lambda f: torch.nn.SiLU(),
    "gelu": lambda f: torch.nn.GELU(approximate=f.approximate),
}
NAMES: Final = {"gamma": "weight", "beta": "bias"}


def torch_module(activation: Activation) -> Any:
    """Return PyTorch's form of an activation, or skip the test where it has none."""
    name = activations.name_of(activation)
    if name not in TORCH:
        pytest.skip(f"PyTorch has no {name}")
    return TORCH[name](activation)


def torch_network(network: BoundNetwork, activation: Activation, batch_norm: bool) -> Any:
    """Build the same network in PyTorch, with the same parameters."""
    row: list[Any] = []
    for position, (inputs, units) in enumerate(pairwise(WIDTHS)):
        last = position == len(WIDTHS) - 2
        row.append(torch.nn.Linear(inputs, units, bias=last or not batch_norm))
        if not last:
            row += [torch.nn.BatchNorm1d(units)] if batch_norm else []
            row.append(torch_module(activation))
    twin = torch.nn.Sequential(*row).double()
    with torch.no_grad():
        for theirs, ours in pairs(twin, network):
            theirs.copy_(torch.from_numpy(ours.copy()))
    return twin


def pairs(twin: Any, network: BoundNetwork) -> list[tuple[Any, Any]]:
    """Return (theirs, ours) for each parameter; ours as they hold it, weights transposed."""
    return [
        (getattr(layer, NAMES.get(name, name)), values.T if name == "weight" else values)
        for layer, views in zip(twin, network.store.value_views, strict=True)
        for name, values in views.items()
    ]


@dataclass
class Pair:
    """Both networks with their losses and optimisers, under way."""

    network: BoundNetwork
    step: TrainingStep
    hyper: Hyperparameters
    twin: Any
    their_loss: Callable[[Any, Any], Any]
    theirs: Any
    examples: Examples

    @property
    def weights(self) -> list[Any]:
        return [p for p in self.twin.parameters() if p.ndim == 2]

    def make_step(self, number: int) -> None:
        """Make one step on both sides, and compare the losses before it."""
        rows = np.arange(20) + 20 * (number % 2)
        self.step.rows(rows)
        result = self.step.gradients()
        self.step.update()
        self.theirs.zero_grad()
        scores = self.twin(torch.from_numpy(self.examples.x[rows]))
        data_loss = self.their_loss(scores, torch.from_numpy(self.examples.y[rows]))
        loss = data_loss + self.penalty()
        loss.backward()
        self.theirs.step()
        assert abs(result.data_loss - data_loss.item()) < TOLERANCE
        assert abs(result.loss - loss.item()) < TOLERANCE

    def penalty(self) -> Any:
        """½ λ ‖W‖² as the lecture adds it to the loss."""
        return 0.5 * self.hyper["weight_decay"] * sum((w**2).sum() for w in self.weights)

    def set(self, key: str, ours: float, theirs: dict[str, Any]) -> None:
        """Change a hyper-parameter on both sides."""
        self.hyper[key] = ours
        for group in self.theirs.param_groups:
            group.update(theirs)

    def difference(self) -> float:
        """Return the largest difference between their parameters and ours."""
        return max(
            float(np.abs(theirs.detach().numpy() - ours).max())
            for theirs, ours in pairs(self.twin, self.network)
        )


def make_pair(
    *,
    activation: Activation | None = None,
    batch_norm: bool = False,
    loss: Loss | None = None,
    their_loss: Callable[[Any, Any], Any] | None = None,
    optimizer: Optimizer | None = None,
    their_optimizer: Callable[[list[dict[str, Any]]], Any] | None = None,
) -> Pair:
    """Make both; `their_optimizer` gets two groups of parameters: weights, and the others."""
    generator = np.random.default_rng(0)
    examples = Examples(generator.normal(size=(40, 12)), generator.integers(0, 4, 40))
    activation, optimizer = activation or Tanh(), optimizer or SGD(0.1)
    network = mlp(
        WIDTHS[1:-1], 4, activation=activation, initializer=Normal(0.4), batch_norm=batch_norm
    ).bind((20, 12), make_backend("numpy", "float64"), generator=generator)
    hyper = optimizer.hyperparameters()
    step = TrainingStep(
        network, loss or SoftmaxCrossEntropy(), optimizer, hyper, examples, probes=True
    )
    twin = torch_network(network, activation, batch_norm)
    groups = [
        {"params": [p for p in twin.parameters() if p.ndim == 2]},
        {"params": [p for p in twin.parameters() if p.ndim == 1]},
    ]
    theirs = (
        their_optimizer(groups)
        if their_optimizer
        else torch.optim.SGD(groups, hyper["learning_rate"], hyper.get("momentum", 0.0))
    )
    their_loss = their_loss or torch.nn.functional.cross_entropy
    return Pair(network, step, hyper, twin, their_loss, theirs, examples)
