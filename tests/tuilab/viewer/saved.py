"""Layers to look at: of a store, or of a small real network whose parameters were saved."""

from functools import partial

import numpy as np

from engine.activations import ReLU
from engine.data.dataset import Dataset, Examples
from engine.initializers import He
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.reshape import Flatten, Image
from engine.network import Network, mlp
from engine.optimization.optimizers import SGD
from engine.statistics.frames import LayerInfo, Snapshot, Units
from engine.training.trainer import Trainer
from tests.tuilab.support import describe, snapshot
from tests.tuilab.viewer.recorded import Recording
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.layer.base import LayerViewState, Subject

PIXELS = (1, 4, 6)  # of the inputs of a recorded network with 24 units


def subject_of(store: RunStore, look: LayerViewState) -> Subject:
    """What a store knows of a layer, as the screen takes it."""
    assert store.snapshot is not None
    layer = look.layer
    return Subject(
        look,
        store.info.layers[layer - 1],
        store.snapshot,
        store.at is not None,
        store.info.pixels,
        partial(store.history, layer),
        partial(store.units, layer),
        partial(store.parameters, layer),
    )


def subject(
    layer: LayerInfo,
    look: LayerViewState | None = None,
    *,
    shot: Snapshot | None = None,
    past: bool = False,
    pixels: tuple[int, int, int] | None = None,
    units: tuple[int, Units] | None = None,
    parameters: Parameters | None = None,
) -> Subject:
    """A layer of which so much is known."""
    return Subject(
        look or LayerViewState(layer.index),
        layer,
        shot or snapshot(10),
        past,
        pixels,
        lambda tensor: None,
        lambda: units,
        lambda: parameters,
    )


def trainer(network: Network, features: int) -> Trainer:
    """A trainer of a network over noise."""
    generator = np.random.default_rng(3)
    train = Examples(generator.normal(size=(40, features)), generator.integers(0, 10, 40))
    classes = tuple(map(str, range(10)))
    data = Dataset("noise", classes, train, None)
    return Trainer(network, data, optimizer=SGD(0.05), batch_size=20, steps=40)


def normalised(units: int = 24, depth: int = 10) -> Trainer:
    """A trainer of the network that is recorded, with batch normalisation."""
    hidden = [units] * depth
    made = mlp(hidden, 10, activation=ReLU(), initializer=He(), batch_norm=True)
    return trainer(made, units)


def convolutional() -> Trainer:
    """A trainer of a network of two convolutions, over images of 3 × 6 × 6."""
    row: list[Layer] = [
        Image(3, 6, 6),
        *(Conv2d(5), Nonlinearity(ReLU())),
        *(Conv2d(4), BatchNorm(), Nonlinearity(ReLU())),
        *(Flatten(), Linear(10)),
    ]
    return trainer(Network(row), 108)


def save(recording: Recording, made: Trainer, step: int) -> None:
    """Save the parameters of a trainer in a recorded run, as if after `step` updates."""
    folder = recording.folder.checkpoints
    folder.mkdir(exist_ok=True)
    made.step = step
    made.checkpoint().save(folder / f"{step}.safetensors")
    recording.writer.checkpoint_saved(step, f"{step}.safetensors")
    describe(recording.writer, layers=made.layers, pixels=PIXELS)
