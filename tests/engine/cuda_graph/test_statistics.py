"""The table that the kernels fill against the one that `engine.training.probes` fills."""

from typing import Any

import numpy as np
import pytest

from engine.activations import Activation, Identity, ReLU, Tanh
from engine.backends import NumPyBackend
from engine.cuda_graph.statistics import PART, Statistics
from engine.initializers import Normal
from engine.network import BoundNetwork, mlp
from engine.statistics.arrays import HISTOGRAM_SAMPLE
from engine.statistics.frames import FIELDS, TENSORS, Snapshot
from engine.training.probes import Probes
from tests.engine.cuda_graph.emulator import Array, Emulator

BATCH, UNITS = 64, 300  # activations of two parts and a bit
assert PART * 2 < BATCH * UNITS


def both(fill: Any, activation: Activation, dtype: str = "float64") -> tuple[Snapshot, Snapshot]:
    """Measure one network whose arrays `fill` has filled, on the host and by the kernels."""
    backend = NumPyBackend(dtype)
    network = mlp([UNITS], 5, activation=activation, initializer=Normal())
    bound = BoundNetwork.of(network, (BATCH, 250), backend, generator=np.random.default_rng(0))
    scores, batch = backend.empty((BATCH, 5)), backend.empty((BATCH, 250))
    probes = Probes(bound, scores, lambda: batch)
    for seed, array in enumerate([scores, batch, *_arrays(bound)]):
        fill(array, np.random.default_rng(seed))
    change = np.random.default_rng(9).normal(0, 0.01, bound.store.values.shape)
    found = []
    for order in (0, 1):
        emulator = Emulator(dtype, order=order)
        statistics = Statistics(probes, bound, emulator)
        kept = bound.store.values.copy()
        emulator.run([statistics.before_update()])
        _add(bound.store.values, change)
        emulator.run(list(statistics.after_update()))
        bound.store.values[...] = kept
        found.append(statistics.snapshot(statistics.words, 7, 0.5, np.zeros(2)))
    np.testing.assert_array_equal(found[0].statistics, found[1].statistics)
    np.testing.assert_array_equal(found[0].histograms, found[1].histograms)
    with np.errstate(all="ignore"):
        probes.start()
        _add(bound.store.values, change)
        return found[0], probes.finish(7, 0.5)


def _add(values: Array, change: Array) -> None:
    values += change.astype(values.dtype)


def _arrays(bound: BoundNetwork) -> list[Array]:
    outputs = [array for each in bound.bound for array in (each.output, each.input_gradient)]
    return [*(each for each in outputs if each.size), bound.store.values, bound.store.gradients]


def same(found: Snapshot, expected: Snapshot, rtol: float) -> None:
    table, wanted = found.statistics, expected.statistics
    for at, field in enumerate(FIELDS):
        infinite = ~np.isfinite(wanted[..., at])
        np.testing.assert_array_equal(~np.isfinite(table[..., at]), infinite, field)
        atol = rtol * np.nanmax(np.abs(wanted[..., FIELDS.index("std")]), initial=0) + 1e-300
        np.testing.assert_allclose(
            table[..., at][~infinite], wanted[..., at][~infinite], rtol, atol, err_msg=field
        )
    np.testing.assert_array_equal(found.ranges, expected.ranges)
    np.testing.assert_array_equal(found.histograms.sum(-1), expected.histograms.sum(-1))
    moved = np.abs(found.histograms - expected.histograms).sum(axis=-1)
    assert moved.max() <= 2, "a value may lie on the edge of two bins"
    for name in ("update_ratio", "asymmetry", "one_signed"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), 10 * rtol, err_msg=name
        )


def normal(mean: float, std: float) -> Any:
    def fill(array: Array, generator: np.random.Generator) -> None:
        array[...] = generator.normal(mean, std, array.shape)

    return fill


def rectified(array: Array, generator: np.random.Generator) -> None:
    array[...] = np.maximum(generator.normal(0, 1, array.shape), 0)


def saturated(array: Array, generator: np.random.Generator) -> None:
    array[...] = np.tanh(generator.normal(0, 3, array.shape))
    array.reshape(-1)[:5] = (-1, 1, 0, -0.97, 0.97)


def constant(array: Array, generator: np.random.Generator) -> None:
    array[...] = 0.3


def zero(array: Array, generator: np.random.Generator) -> None:
    array[...] = 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("fill", "activation"),
    [
        (normal(0.3, 2), Identity()),
        (normal(1000, 0.5), Identity()),  # a large mean must not ruin the variance
        (normal(0, 1e-18), Identity()),  # whose squares vanish in float32
        (normal(0, 1e25), Identity()),  # and whose squares overflow
        (rectified, ReLU()),
        (saturated, Tanh()),
        (constant, Identity()),
        (zero, ReLU()),
    ],
)
def test_the_table_is_the_same(fill: Any, activation: Activation, dtype: str) -> None:
    found, expected = both(fill, activation, dtype)
    # In float32 the host takes means of blocks in float32, the kernels in float64.
    same(found, expected, 1e-10 if dtype == "float64" else 2e-4)


@pytest.mark.parametrize(
    "bad", [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf), (np.nan, np.inf)]
)
def test_what_is_not_finite_is_counted_and_the_rest_is_drawn(bad: tuple[float, ...]) -> None:
    def fill(array: Array, generator: np.random.Generator) -> None:
        normal(0.3, 2)(array, generator)
        flat = array.reshape(-1)
        flat[:: len(flat) // len(bad) - 1][: len(bad)] = bad

    found, expected = both(fill, Identity())
    same(found, expected, 1e-10)
    at = TENSORS.index("activation"), FIELDS.index("nonfinite")
    assert found.statistics[0][at] == len(bad)


def test_all_not_finite() -> None:
    def fill(array: Array, generator: np.random.Generator) -> None:
        array[...] = np.inf

    found, expected = both(fill, Identity())
    np.testing.assert_array_equal(found.histograms, expected.histograms)
    np.testing.assert_array_equal(found.ranges, expected.ranges)
    for field in ("std", "nonfinite"):
        np.testing.assert_array_equal(
            found.statistics[..., FIELDS.index(field)],
            expected.statistics[..., FIELDS.index(field)],
            field,
        )
    activation = found.statistics[:, TENSORS.index("activation"), FIELDS.index("std")]
    assert np.isnan(activation).all()


def test_a_large_weight_is_sampled_as_on_the_host() -> None:
    assert 250 * UNITS > HISTOGRAM_SAMPLE
    found, expected = both(normal(0, 1), Identity())
    weight = TENSORS.index("weight")
    assert 0 < found.histograms[0, weight].sum() < HISTOGRAM_SAMPLE
    np.testing.assert_array_equal(found.histograms[0, weight], expected.histograms[0, weight])


def test_units_that_are_all_the_same_have_no_asymmetry() -> None:
    def fill(array: Array, generator: np.random.Generator) -> None:
        array[...] = generator.normal(size=(*array.shape[:-1], 1)) if array.ndim > 1 else 0.3

    found, _ = both(fill, Identity())
    np.testing.assert_array_equal(found.asymmetry, 0.0)
