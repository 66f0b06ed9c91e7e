"""A small convolutional network: three 3×3 convolutions of 16, 32 and 32 filters, with pooling."""

from collections.abc import Callable

import numpy as np
import torch

from engine.activations import ReLU
from engine.data.dataset import Examples
from engine.initializers import He
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import MaxPool2d
from engine.layers.reshape import Flatten
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network
from engine.optimization.optimizers import SGD
from engine.training.training_step import TrainingStep
from tests.benchmarks.training import numpy_backend

BATCH, SIZE, FILTERS = 64, 32, (16, 32, 32)


def examples() -> Examples:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)
    return Examples(x, generator.integers(0, 10, BATCH))


def ours() -> Callable[[], object]:
    """Return a training step of this engine."""
    row = [
        layer
        for filters in FILTERS
        for layer in (
            Conv2d(filters, padding=1, initializer=He()),
            Nonlinearity(ReLU()),
            MaxPool2d(),
        )
    ]
    optimizer, order = SGD(1e-4, momentum=0.9), np.arange(BATCH)
    hyper = optimizer.hyperparameters()
    bound = BoundNetwork.of(
        Network([*row, Flatten(), Linear(10)]),
        (BATCH, SIZE, SIZE, 3),
        numpy_backend(),
        generator=np.random.default_rng(0),
        hyper=hyper,
    )
    step = TrainingStep(bound, SoftmaxCrossEntropy(), optimizer, hyper, examples(), probes=False)

    def run() -> None:
        step.take(order)
        step.gradients()
        step.update()

    return run


def peer(*, channels_last: bool = False) -> Callable[[], object]:
    """Return a training step of PyTorch's, in either of its layouts."""
    row: list[torch.nn.Module] = []
    for channels, filters in zip((3, *FILTERS), FILTERS, strict=False):
        row += [torch.nn.Conv2d(channels, filters, 3, padding=1), torch.nn.ReLU()]
        row.append(torch.nn.MaxPool2d(2))
    side = SIZE // 2 ** len(FILTERS)
    row += [torch.nn.Flatten(), torch.nn.Linear(FILTERS[-1] * side**2, 10)]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = torch.nn.Sequential(*row).to(memory_format=layout)
    data = examples()
    x = torch.from_numpy(data.x.transpose(0, 3, 1, 2).copy()).to(memory_format=layout)
    y, loss_of = torch.from_numpy(data.y), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)

    def run() -> None:
        loss = loss_of(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    return run
