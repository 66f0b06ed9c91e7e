"""Training steps on the processor: ours, PyTorch's, and the matrix products alone.

Every contender makes the same steps: gather a batch of 32-bit floats, forwards, backwards, update.
The products alone are what no implementation can do without: for each layer one forwards and two
backwards (one for the first layer, whose input asks for no gradient).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.activations import Activation, Identity, ReLU, Tanh
from engine.backends import make_backend
from engine.backends.base import Backend
from engine.data.dataset import Examples
from engine.initializers import He
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, mlp
from engine.optimization.optimizers import SGD, Adam, Optimizer
from engine.training.training_step import TrainingStep

EXAMPLES = 4096
ACTIVATIONS: dict[str, tuple[Activation, type[torch.nn.Module]]] = {
    "tanh": (Tanh(), torch.nn.Tanh),
    "relu": (ReLU(), torch.nn.ReLU),
    "identity": (Identity(), torch.nn.Identity),
}


@dataclass(frozen=True)
class Work:
    """One row of the benchmark: a fully connected network, and how it is trained."""

    inputs: int
    hidden: Sequence[int]
    classes: int
    activation: str
    batch: int
    optimizer: str = "sgd"
    batch_norm: bool = False

    @property
    def widths(self) -> list[int]:
        return [self.inputs, *self.hidden, self.classes]

    @property
    def name(self) -> str:
        hidden = self.hidden
        middle = f"{len(hidden)}×{hidden[0]}" if len(hidden) > 1 else str(hidden[0])
        norm = " + batch norm" if self.batch_norm else ""
        return (
            f"{self.inputs}-{middle}-{self.classes} {self.activation}{norm}, "
            f"batch {self.batch}, {self.optimizer}"
        )

    def examples(self) -> Examples:
        generator = np.random.default_rng(0)
        x = generator.normal(size=(EXAMPLES, self.inputs)).astype(np.float32)
        return Examples(x, generator.integers(0, self.classes, EXAMPLES))


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: SGD(1e-4, momentum=0.9),
    "adam": lambda: Adam(1e-5),
}


def _orders(batch: int) -> Callable[[], np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Return what gives the examples of the next batch, from a shuffled order."""
    order, place = np.random.default_rng(1).permutation(EXAMPLES), 0

    def following() -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        nonlocal place
        place = place + batch if place + 2 * batch <= EXAMPLES else 0
        return order[place : place + batch]

    return following


def numpy_backend() -> Backend:
    """Return ours, with as many threads as PyTorch has been given."""
    return make_backend("numpy", threads=torch.get_num_threads())


def ours(work: Work, *, measure: bool = False) -> Callable[[], object]:
    """Return a step of this engine; with `measure` all statistics of all six tensors are taken."""
    activation = ACTIVATIONS[work.activation][0]
    network = mlp(
        work.hidden,
        work.classes,
        activation=activation,
        initializer=He(),
        batch_norm=work.batch_norm,
    )
    backend, optimizer = numpy_backend(), OPTIMIZERS[work.optimizer]()
    hyper = optimizer.hyperparameters()
    bound = BoundNetwork.of(
        network, (work.batch, work.inputs), backend, generator=np.random.default_rng(0), hyper=hyper
    )
    step = TrainingStep(
        bound, SoftmaxCrossEntropy(), optimizer, hyper, work.examples(), probes=measure
    )
    following = _orders(work.batch)

    def run() -> None:
        step.take(following())
        step.gradients()
        if step.probes is not None:
            step.probes.start()
        step.update()
        if step.probes is not None:
            step.probes.finish(0, 0.0)

    return run


def module(work: Work) -> torch.nn.Sequential:
    """Return the same network of PyTorch's."""
    row: list[torch.nn.Module] = []
    for inputs, units in zip(work.widths[:-2], work.widths[1:-1], strict=True):
        row.append(torch.nn.Linear(inputs, units, bias=not work.batch_norm))
        if work.batch_norm:
            row.append(torch.nn.BatchNorm1d(units))
        row.append(ACTIVATIONS[work.activation][1]())
    row.append(torch.nn.Linear(work.widths[-2], work.classes))
    return torch.nn.Sequential(*row)


def peer(work: Work, *, compiled: bool = False, fused: bool = False) -> Callable[[], object]:
    """Return a step of PyTorch's: eager, or through torch.compile; its optimiser fused or not."""
    torch.manual_seed(0)
    network = module(work)
    optimizer: torch.optim.Optimizer
    if work.optimizer == "sgd":
        optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, fused=fused)
    else:
        optimizer = torch.optim.Adam(network.parameters(), 1e-5, fused=fused)
    examples = work.examples()
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
    forward = torch.compile(network) if compiled else network
    loss_of, following = torch.nn.CrossEntropyLoss(), _orders(work.batch)

    def run() -> None:
        rows = torch.from_numpy(following())
        loss = loss_of(forward(x[rows]), y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def products(work: Work) -> Callable[[], object]:
    """Return the matrix products of a step, and nothing else."""
    generator = np.random.default_rng(0)
    calls = []
    for number, (inputs, units) in enumerate(zip(work.widths[:-1], work.widths[1:], strict=True)):
        x, W, y = (
            generator.normal(size=shape).astype(np.float32)
            for shape in ((work.batch, inputs), (inputs, units), (work.batch, units))
        )
        calls.append((x, W, np.empty_like(y)))
        calls.append((x.T, y, np.empty_like(W)))
        if number:
            calls.append((y, W.T, np.empty_like(x)))

    def run() -> None:
        for a, b, out in calls:
            np.matmul(a, b, out=out)

    return run


def watched(work: Work) -> Callable[[], object]:
    """Return PyTorch's step with mean, std and histogram of all six tensors, taken by hooks.

    Pre-activation and activation by forward hooks, dL/dA by a tensor hook, the weight, its gradient
    and its update around the optimiser's step: as one would write it without this program.
    """
    torch.manual_seed(0)
    network = module(work)
    if work.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(network.parameters(), 1e-5)
    found: list[object] = []

    def look(values: torch.Tensor) -> None:
        values = values.detach()
        found.append((values.mean().item(), values.std().item(), torch.histc(values, 64)))

    def seen(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        look(output)
        output.register_hook(look)  # type: ignore[no-untyped-call, unused-ignore]

    kinds = ACTIVATIONS[work.activation][1]
    for each in network:
        if isinstance(each, kinds):
            each.register_forward_hook(seen)
        elif isinstance(each, torch.nn.Linear):
            each.register_forward_hook(lambda _, __, output: look(output))
    weights = [each.weight for each in network if isinstance(each, torch.nn.Linear)]
    examples = work.examples()
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
    loss_of, following = torch.nn.CrossEntropyLoss(), _orders(work.batch)

    def run() -> None:
        found.clear()
        rows = torch.from_numpy(following())
        loss = loss_of(network(x[rows]), y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            look(weight)
            look(weight.grad)
        optimizer.step()
        for weight, old in zip(weights, before, strict=True):
            look(weight.detach() - old)
        loss.item()

    return run
