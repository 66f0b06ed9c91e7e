"""A network of ours and the same one in PyTorch, trained side by side in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from engine.activations import Activation, Tanh, activations
from engine.backends import make_backend
from engine.data.dataset import Examples
from engine.initializers import Normal
from engine.layers.base import Layer
from engine.layers.maxout import Maxout
from engine.layers.prelu import PReLU
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network import BoundNetwork, mlp
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import SGD, Optimizer, optimizers
from engine.training.training_step import TrainingStep

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
OPTIMIZERS: Final[dict[str, Callable[[Any], Any]]] = {
    "sgd": lambda groups: torch.optim.SGD(groups),
    "nesterov": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups),
    "adam": lambda groups: torch.optim.Adam(groups),
    "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.0),
}
THEIR_KEYS: Final = {"momentum": "momentum", "alpha": "alpha", "epsilon": "eps"}
NAMES: Final = {"gamma": "weight", "beta": "bias", "slope": "weight"}


def torch_module(activation: Activation | Layer, units: int = 1) -> Any:
    """Return PyTorch's form of an activation, or skip the test where it has none."""
    if isinstance(activation, PReLU):
        return torch.nn.PReLU(units if activation.per_unit else 1)
    if isinstance(activation, Maxout):
        return TorchMaxout(activation.pieces)
    name = activations.name_of(activation)  # type: ignore[arg-type]
    if name not in TORCH:
        pytest.skip(f"PyTorch has no {name}")
    return TORCH[name](activation)


class TorchMaxout(torch.nn.Module):  # type: ignore[misc]
    """PyTorch has no maxout, but all that one needs."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Any) -> Any:
        return x.reshape(len(x), self.pieces, -1).max(dim=1).values


def torch_optimizer(optimizer: Optimizer, groups: list[dict[str, Any]]) -> Any:
    """Return PyTorch's form of an optimiser, or skip the test where it has none."""
    name = optimizers.name_of(optimizer)
    if name not in OPTIMIZERS:
        pytest.skip(f"PyTorch has no {name}")
    return OPTIMIZERS[name](groups)


def torch_network(network: BoundNetwork, activation: Activation | Layer, batch_norm: bool) -> Any:
    """Build the same network in PyTorch, with the same parameters."""
    row: list[Any] = []
    for position, (inputs, units) in enumerate(pairwise(WIDTHS)):
        last = position == len(WIDTHS) - 2
        inner = units * (activation.pieces if isinstance(activation, Maxout) and not last else 1)
        row.append(torch.nn.Linear(inputs, inner, bias=last or not batch_norm))
        if not last:
            row += [torch.nn.BatchNorm1d(inner)] if batch_norm else []
            row.append(torch_module(activation, units))
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
    decoupled: bool

    @property
    def weights(self) -> list[Any]:
        return [p for p in self.twin.parameters() if p.ndim == 2]

    def make_step(self, number: int) -> None:
        """Make one step on both sides, and compare the losses before it."""
        rows = np.arange(20) + 20 * (number % 2)
        self.step.take(rows)
        result = self.step.gradients()
        self.step.update()
        self.theirs.zero_grad()
        scores = self.twin(torch.from_numpy(self.examples.x[rows]))
        data_loss = self.their_loss(scores, torch.from_numpy(self.examples.y[rows]))
        loss = data_loss + self.penalty()
        loss.backward()
        if self.hyper["clip_value"]:
            torch.nn.utils.clip_grad_value_(self.twin.parameters(), self.hyper["clip_value"])
        if self.hyper["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(self.twin.parameters(), self.hyper["clip_norm"])
        self.theirs.step()
        assert abs(result.data_loss - data_loss.item()) < TOLERANCE
        assert abs(result.loss - loss.item()) < TOLERANCE

    def penalty(self) -> Any:
        """½ λ ‖W‖² + λ₁ Σ|W|, as the lecture adds them to the loss."""
        decay = 0.0 if self.decoupled else self.hyper["weight_decay"]
        return sum(
            0.5 * decay * (w**2).sum() + self.hyper["l1"] * w.abs().sum() for w in self.weights
        )

    def set(self, key: str, value: float) -> None:
        """Change a hyper-parameter on both sides."""
        self.hyper[key] = value
        self.tell_torch()

    def tell_torch(self) -> None:
        """Write our hyper-parameters into the groups of their optimiser."""
        weights, _ = self.theirs.param_groups
        for group in self.theirs.param_groups:
            for key, value in self.hyper.items():
                if THEIR_KEYS.get(key) in group:
                    group[THEIR_KEYS[key]] = value
            group["lr"] = self.hyper.rate
            if "betas" in group:
                group["betas"] = (self.hyper["beta1"], self.hyper["beta2"])
        if self.decoupled:
            weights["weight_decay"] = self.hyper["weight_decay"]

    def difference(self) -> float:
        """Return the largest difference between their parameters and ours."""
        return max(
            float(np.abs(theirs.detach().numpy() - ours).max())
            for theirs, ours in pairs(self.twin, self.network)
        )


def make_pair(
    *,
    activation: Activation | Layer | None = None,
    batch_norm: bool = False,
    loss: Loss | None = None,
    their_loss: Callable[[Any, Any], Any] | None = None,
    optimizer: Optimizer | None = None,
) -> Pair:
    """Make both, with two groups of parameters for their optimiser: weights, and the others."""
    generator = np.random.default_rng(0)
    examples = Examples(generator.normal(size=(40, 12)), generator.integers(0, 4, 40))
    activation, optimizer = activation or Tanh(), optimizer or SGD(0.1)
    network = BoundNetwork.of(
        mlp(WIDTHS[1:-1], 4, activation=activation, initializer=Normal(0.4), batch_norm=batch_norm),
        (20, 12),
        make_backend("numpy", "float64"),
        generator=generator,
    )
    hyper = optimizer.hyperparameters()
    step = TrainingStep(
        network, loss or SoftmaxCrossEntropy(), optimizer, hyper, examples, probes=True
    )
    twin = torch_network(network, activation, batch_norm)
    groups = [
        {"params": [p for p in twin.parameters() if p.ndim == 2]},
        {"params": [p for p in twin.parameters() if p.ndim == 1]},
    ]
    theirs = torch_optimizer(optimizer, groups)
    their_loss = their_loss or torch.nn.functional.cross_entropy
    decoupled = optimizer.decoupled
    pair = Pair(network, step, hyper, twin, their_loss, theirs, examples, decoupled)
    pair.tell_torch()
    return pair
