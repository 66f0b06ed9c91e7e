"""The slices of a checkpoint, against the parameters of the network that they are of."""

from pathlib import Path

import numpy as np
import pytest

from engine.activations import ReLU
from engine.data.dataset import Dataset, Examples
from engine.errors import CheckpointError
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from engine.network import Network
from engine.network.parameter_layout import slices
from engine.optimization.optimizers import SGD
from engine.training.checkpoint import FORMAT, Checkpoint
from engine.training.trainer import Trainer
from tuilab.record.saved_parameters import CHECKPOINT_FORMAT, read_layer


@pytest.fixture
def trainer() -> Trainer:
    generator = np.random.default_rng(1)
    train = Examples(generator.normal(size=(40, 48)), generator.integers(0, 3, 40))
    block: list[Layer] = [Conv2d(4, padding=1, bias=None), BatchNorm()]
    row: list[Layer] = [
        Image(3, 4, 4),
        *(Conv2d(4, padding=1), BatchNorm(), Nonlinearity(ReLU())),
        Residual(block),
        *(Flatten(), Linear(3)),
    ]
    return Trainer(
        Network(row),
        Dataset("noise", ("a", "b", "c"), train, None),
        optimizer=SGD(0.05, momentum=0.9),
        batch_size=20,
        steps=9,
    )


def trained(trainer: Trainer, path: Path) -> Trainer:
    for _ in trainer.frames(interval=0):
        pass
    trainer.checkpoint().save(path)
    return trainer


def test_every_array_is_found_again_bit_for_bit(trainer: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    store = trained(trainer, path).network.store
    views = [a | b for a, b in zip(store.value_views, store.state_views, strict=True)]
    expected = {
        1: {**views[1], **views[2]},  # the convolution, and the normalisation after it
        2: views[4],  # the residual block
        3: views[6],
    }
    for layer, arrays in expected.items():
        found = read_layer(path, layer)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, name)
    assert read_layer(path, 4) == {}


def test_slices_cover_the_arrays_without_a_gap(trainer: Trainer) -> None:
    found, store = slices(trainer.network), trainer.network.store
    for array, size in (("parameters", len(store.values)), ("running", len(store.state))):
        pieces = sorted((each.start, each.stop) for each in found if each.array == array)
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == size


def test_slices_come_back_with_the_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    taken = trained(trainer, path).checkpoint()
    assert list(Checkpoint.load(path).slices) == list(taken.slices) != []


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        read_layer(path, 1)


def test_the_record_reads_the_format_that_is_written() -> None:
    assert CHECKPOINT_FORMAT == FORMAT
