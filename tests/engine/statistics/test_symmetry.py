"""Asymmetry and one-signed gradients against the naive computation, example by example."""

import numpy as np
import pytest

from engine.activations import Activation, ReLU, Sigmoid, Tanh
from engine.data.dataset import Dataset, Examples
from engine.initializers import Constant, Normal, Zeros
from engine.layers.conv2d import Conv2d
from engine.layers.linear import Linear
from engine.layers.reshape import Flatten, Image
from engine.network import Network, mlp
from engine.optimization.optimizers import SGD
from engine.statistics.symmetry import BLOCK, asymmetry, one_signed
from engine.training.trainer import Trainer
from tests.engine.conftest import Array


def matrix(rows: int, units: int, dtype: str = "float64") -> Array:
    return np.random.default_rng(rows).normal(0.2, 1, (rows, units)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 5), (7, 3), (BLOCK // 10 + 3, 21), (3, BLOCK + 1)])
def test_asymmetry_is_the_distance_from_the_mean_unit(dtype: str, shape: tuple[int, int]) -> None:
    weight = matrix(*shape, dtype)
    exact = weight.astype(np.float64)
    expected = np.linalg.norm(exact - exact.mean(axis=1, keepdims=True)) / np.linalg.norm(exact)
    assert asymmetry(weight) == pytest.approx(expected, rel=1e-9)


def test_equal_units_and_no_weights_have_no_asymmetry_at_all() -> None:
    same = np.repeat(matrix(300, 1, "float32"), 200, axis=1)
    assert asymmetry(same) == 0.0
    assert asymmetry(np.zeros((4, 3), np.float32)) == 0.0
    same[7, 11] *= 1.5
    assert asymmetry(same) > 1e-4


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20, 1e38])
def test_asymmetry_does_not_depend_on_the_scale(scale: float) -> None:
    weight = matrix(50, 40)
    scaled = (weight * scale / np.abs(weight).max()).astype(np.float32)
    assert asymmetry(scaled) == pytest.approx(asymmetry(weight), rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_asymmetry_of_a_weight_that_is_not_finite_is_nan(bad: float) -> None:
    weight = matrix(5, 4)
    weight[2, 3] = bad
    assert np.isnan(asymmetry(weight))


def naive_share(x: Array, dz: Array) -> float:
    """Make every gradient x · dL/dz and look at its signs."""
    signed = total = 0
    for example, gradients in zip(x, dz, strict=True):
        for g in gradients:
            if g == 0:
                continue
            total += 1
            dw = example * g
            signed += bool(dw.any()) and not ((dw > 0).any() and (dw < 0).any())
    return signed / total


def test_one_signed_counts_the_gradients_of_one_sign() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(40, 3))
    x[5], x[6, :2] = 0.0, 0.0
    dz = generator.normal(size=(40, 6)) * (generator.random((40, 6)) < 0.6)
    expected = naive_share(x, dz)
    assert 0.1 < expected < 0.5
    assert one_signed(x, dz) == pytest.approx(expected)


def test_without_a_gradient_there_is_no_share() -> None:
    assert np.isnan(one_signed(np.ones((3, 2)), np.zeros((3, 4))))


def trainer(network: Network, shift: float = 0.0, steps: int = 1) -> Trainer:
    generator = np.random.default_rng(0)
    x = generator.normal(shift, 1, (200, 16)).astype(np.float32)
    examples = Examples(x, generator.integers(0, 3, 200))
    data = Dataset("made up", ("a", "b", "c"), examples, None)
    at = range(steps)
    return Trainer(network, data, optimizer=SGD(0.01), batch_size=100, steps=steps, snapshot_at=at)


def deep(activation: Activation, shift: float = 0.0) -> Array:
    network = mlp([12, 9], 3, activation=activation, initializer=Normal(0.5))
    (frame,) = trainer(network, shift).frames()
    assert frame.snapshot is not None
    return frame.snapshot.one_signed


def test_what_is_measured_at_the_layers_of_a_network() -> None:
    assert deep(Sigmoid())[1:].tolist() == [1.0, 1.0]
    assert deep(ReLU())[1] > 0.99
    assert deep(Tanh()).max() < 0.02
    assert deep(Tanh(), shift=9.0)[0] == 1.0


def test_a_filter_sums_over_places_so_that_signs_of_inputs_do_not_tell() -> None:
    row = [Image(1, 4, 4), Conv2d(2, initializer=Normal(0.5)), Flatten(), Linear(3)]
    (frame,) = trainer(Network(row)).frames()
    assert frame.snapshot is not None
    assert np.isnan(frame.snapshot.one_signed[0])
    assert frame.snapshot.one_signed[1] < 0.5
    assert frame.snapshot.asymmetry[0] > 0.1


@pytest.mark.parametrize("initializer", [Zeros(), Constant(0.1)])
def test_units_that_begin_the_same_stay_the_same(initializer: Zeros | Constant) -> None:
    network = mlp([12, 9], 3, activation=Tanh(), initializer=initializer)
    frames = trainer(network, steps=5).frames(interval=0)
    snapshots = [frame.snapshot for frame in frames if frame.snapshot]
    assert len(snapshots) == 5
    for snapshot in snapshots:
        assert snapshot.asymmetry[:-1].max() < 1e-5
