"""Statistics against NumPy's own in float64, on tensors that are easy to get wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.activations import ReLU, Sigmoid, Tanh
from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Backend
from engine.backends.cpu_kernels.library import kernels, missing
from engine.initializers import Normal
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, mlp
from engine.statistics.arrays import BLOCK, HISTOGRAM_SAMPLE, NumPyArrays
from engine.statistics.dead_units import DeadUnitTracker
from engine.statistics.frames import BINS, FIELDS, TENSORS, Floats, Snapshot, gain
from engine.statistics.histogram import every_kth, tensor_histogram
from engine.statistics.moments import tensor_moments
from engine.statistics.tensor_statistics import measure_tensor
from engine.training.probes import Probes
from tests.engine.conftest import Array


def measured(values: Array, saturated: tuple[float, float] | None = None) -> dict[str, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        row = tensor_moments(values, saturated)
    return dict(zip(FIELDS, row.tolist(), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, BLOCK, 2 * BLOCK + 5])
def test_moments_agree_with_numpy(dtype: str, size: int) -> None:
    values = np.random.default_rng(size).normal(0.3, 2, size).astype(dtype)
    values[::3] = 0
    row = measured(values, (-1.0, 1.0))
    exact = values.astype(np.float64)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert row["count"] == size
    assert row["mean"] == pytest.approx(exact.mean(), abs=tolerance)
    assert row["std"] == pytest.approx(exact.std(), rel=tolerance)
    assert (row["min"], row["max"]) == (exact.min(), exact.max())
    assert row["zero_fraction"] == pytest.approx((exact == 0).mean())
    assert row["saturated_fraction"] == pytest.approx((np.abs(exact) >= 1).mean())
    assert row["nonfinite"] == 0


def test_a_large_mean_does_not_ruin_the_variance() -> None:
    values = (10_000 + np.random.default_rng(0).normal(0, 0.5, 3 * BLOCK)).astype(np.float32)
    exact = values.astype(np.float64)
    assert measured(values)["std"] == pytest.approx(exact.std(), rel=1e-3)


def test_a_constant_has_exactly_no_spread() -> None:
    assert measured(np.full(1000, 0.1, np.float32))["std"] == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(bad: float) -> None:
    values = np.ones(BLOCK + 10, np.float32)
    values[[3, BLOCK + 1]] = bad
    row = measured(values)
    assert row["nonfinite"] == 2
    assert not np.isfinite(row["mean"])


def histogram(
    values: Array, bounds: tuple[float | None, float | None] = (None, None)
) -> tuple[Array, tuple[float, float]]:
    with np.errstate(over="ignore", invalid="ignore"):
        return tensor_histogram(values, bounds)


def test_a_plain_array_is_measured_in_one_call() -> None:
    values = np.tanh(np.random.default_rng(0).normal(0, 2, (40, 3, 5)))
    result = measure_tensor(values, bounds=Tanh().bounds, saturation=Tanh().saturated)
    assert result["count"] == values.size
    assert result["std"] == pytest.approx(values.std())
    assert result["saturated_fraction"] == pytest.approx((np.abs(values) >= 0.97).mean())
    assert result.range == (-1.0, 1.0)
    expected = np.histogram(values, np.linspace(-1, 1, BINS + 1))[0]
    np.testing.assert_array_equal(result.histogram[1:-1], expected)
    with pytest.raises(KeyError, match="median"):
        result["median"]


@pytest.mark.parametrize("dtype", ["float16", "int8", "int64", "bool"])
def test_any_real_dtype_is_measured(dtype: str) -> None:
    values = np.array([[0, 1, 1], [3, 5, 0]]).astype(dtype)
    result, exact = measure_tensor(values[:, ::-1]), values.astype(np.float64)
    assert result["mean"] == pytest.approx(exact.mean())
    assert result["std"] == pytest.approx(exact.std())
    assert result["zero_fraction"] == pytest.approx(1 / 3)
    assert result.histogram.sum() == 6


def test_a_number_and_no_numbers_are_measured_too() -> None:
    one, none = measure_tensor(2.5), measure_tensor(np.empty((0, 3)))
    assert (one["count"], one["mean"], one["std"]) == (1, 2.5, 0)
    assert one.histogram.sum() == 1
    assert (none["count"], none["nonfinite"]) == (0, 0)
    assert np.isnan(none["mean"])
    assert none.histogram.sum() == 0


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)))
def test_histogram_counts_every_value_once(values: Array) -> None:
    counts, (low, high) = histogram(values)
    assert counts.sum() == len(values)
    assert counts[0] == (values < low).sum()
    edges = np.linspace(low, high, BINS + 1)
    inside = values[(values >= low) & (values < high)]
    expected = np.histogram(inside, edges)[0]
    width = edges[1] - edges[0]
    on_an_edge = np.abs(inside / width - np.round(inside / width)) < 1e-9  # may round either way
    assert np.abs(counts[1:-1] - expected).sum() <= 2 * on_an_edge.sum()


def test_unbounded_ranges_are_powers_of_two_so_that_they_nest() -> None:
    for scale in (1e-30, 3e-4, 1.0, 70.0):
        _, (low, high) = histogram(np.random.default_rng(0).normal(0, scale, 5000))
        assert low == -high
        assert np.log2(high) == np.round(np.log2(high))
        assert 2 * scale < high < 6 * scale


def test_values_on_a_natural_bound_are_in_the_last_bin_and_not_above() -> None:
    counts, edges = histogram(np.array([-1.0, 1.0, 1.0, 0.0]), Tanh().bounds)
    assert edges == (-1.0, 1.0)
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (0, 1, 2, 0)


def test_histogram_of_a_broken_tensor_counts_what_is_finite() -> None:
    values = np.array([np.nan, np.inf, 0.5, 0.25], np.float32)
    assert histogram(values)[0].sum() == 2


def test_the_sample_of_a_large_matrix_sees_every_column() -> None:
    matrix = np.tile(np.arange(500.0), (1000, 1))
    sample = every_kth(matrix)
    assert len(sample) <= HISTOGRAM_SAMPLE
    assert set(sample) == set(range(500))


def test_gain_is_the_factor_a_layer() -> None:
    assert gain(0.7 ** np.arange(10.0)) == pytest.approx(0.7)
    assert gain(np.array([1.0, 0.0, 0.0])) == 0.0
    assert np.isnan(gain(np.array([1.0])))
    assert np.isnan(gain(np.array([np.nan, np.nan, 1.0])))


def small_network(activation: ReLU | Tanh | Sigmoid) -> BoundNetwork:
    network = mlp([3, 3], 2, activation=activation, initializer=Normal(1.0))
    return BoundNetwork.of(
        network, (4, 2), make_backend("numpy", "float64"), generator=np.random.default_rng(0)
    )


def dead_unit_tracker(bound: BoundNetwork) -> DeadUnitTracker:
    groups = bound.network.groups(bound.batch_shape[1:])
    layers = [(bound.bound[g.output].output, g.activation.silent_at) for g in groups]
    return DeadUnitTracker(bound.backend, layers)


def test_units_that_no_example_of_an_epoch_activates_are_dead() -> None:
    bound = small_network(ReLU())
    bound.store.value_views[0]["bias"][...] = [-1e6, 1.0, 1.0]
    tracker = dead_unit_tracker(bound)
    assert np.isnan(tracker.fraction[0])
    for seed in range(3):
        bound.forward(np.random.default_rng(seed).uniform(0, 0.1, (4, 2)), True)
        tracker.update()
    tracker.end_epoch()
    assert tracker.fraction[0] == pytest.approx(1 / 3)
    assert tracker.fraction[-1] == 0  # scores cannot die
    bound.store.value_views[0]["bias"][...] = 1.0
    bound.forward(np.zeros((4, 2)), True)
    tracker.update()
    tracker.end_epoch()
    assert tracker.fraction[0] == 0  # a new epoch begins


@pytest.mark.parametrize("compiled", [True, False])
def test_a_unit_that_is_active_once_in_an_epoch_is_alive(compiled: bool) -> None:
    available = kernels("float64") if compiled else None
    if compiled and available is None:
        pytest.skip(missing("float64"))
    network = mlp([3], 2, activation=ReLU(), initializer=Normal(1.0))
    backend = NumPyBackend("float64", kernels=available)
    bound = BoundNetwork.of(network, (4, 2), backend, generator=np.random.default_rng(0))
    bias, tracker = bound.store.value_views[0]["bias"], dead_unit_tracker(bound)
    low, high = -1e6, 1.0
    epochs = [
        (
            [low, low, low],
            [high, low, low],
            [low, high, low],
        ),  # another one in each step, and one never
        ([high, high, high], [low, low, low]),  # all have risen at once
        ([low, low, low], [low, low, low]),
    ]
    for epoch, dead in zip(epochs, (1 / 3, 0, 1), strict=True):
        for values in epoch:
            bias[...] = values
            bound.forward(np.zeros((4, 2)), True)
            tracker.update()
        tracker.end_epoch()
        assert tracker.fraction[0] == pytest.approx(dead)


def test_dead_units_of_plain_arrays() -> None:
    output = np.zeros((2, 4, 3))  # a convolution: examples, places, channels
    tracker = DeadUnitTracker(NumPyArrays(np.float64), [(output, 0.5), (output, None)])
    assert tracker.dead(0) is None
    for channel in (0, 0, 2):
        output[...] = 0.5  # not above the floor
        output[1, 3, channel] = 0.6
        tracker.update()
    tracker.end_epoch()
    dead = tracker.dead(0)
    assert dead is not None
    assert dead.tolist() == [False, True, False]
    assert tracker.dead(1) is None
    assert tracker.fraction.tolist() == [pytest.approx(1 / 3), 0]


def test_first_nonfinite_walks_forwards_then_backwards() -> None:
    from tests.engine.training.test_trainer import blobs, trained

    frames = trained(blobs(), learning_rate=0.1, steps=1)
    snapshot = next(frame.snapshot for frame in frames if frame.snapshot)
    assert snapshot.first_nonfinite() is None
    column = FIELDS.index("nonfinite")

    def poison(layer: int, tensor: str) -> None:
        table: Floats = snapshot.statistics
        table[layer, TENSORS.index(tensor), column] = 1

    poison(0, "weight_grad")
    assert snapshot.first_nonfinite() == (0, "weight_grad")
    poison(1, "activation_grad")
    assert snapshot.first_nonfinite() == (1, "activation_grad")
    poison(1, "activation")
    assert snapshot.first_nonfinite() == (1, "activation")


@pytest.mark.parametrize("scale", [1e-37, 1e-24, 1e-13, 1e13, 1e19, 1e37])
def test_a_signal_that_vanished_or_exploded_keeps_its_spread(scale: float) -> None:
    values = (np.random.default_rng(0).normal(1, 1, BLOCK + 7) * scale).astype(np.float32)
    exact = values.astype(np.float64)
    row = measured(values)
    assert row["std"] == pytest.approx(exact.std(), rel=1e-4)
    assert row["mean"] == pytest.approx(exact.mean(), rel=1e-4)
    assert row["nonfinite"] == 0


def measured_step(backend: Backend, *, broken: bool) -> Snapshot:
    network = mlp([40, 3, 25, 6], 2, activation=ReLU(), initializer=Normal(0.5))
    bound = BoundNetwork.of(network, (8, 7), backend, generator=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(8, 7))
    loss = SoftmaxCrossEntropy().bind((2,), 8, backend)
    probes = Probes(bound, loss.score_gradient, lambda: x)
    loss.forward(bound.forward(x, True), np.zeros(8, np.int64))
    bound.backward(loss.backward())
    if broken:
        bound.store.values[::50] = np.nan
    probes.start()
    bound.store.values[...] -= 0.1 * bound.store.gradients
    return probes.finish(0, 0.0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_share_the_layers(
    threads: int, broken: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.threads.WORTH", 1)
    available = kernels("float64") if compiled else None
    if compiled and available is None:
        pytest.skip(missing("float64"))
    one, other = (
        measured_step(NumPyBackend("float64", size, available), broken=broken)
        for size in (1, threads)
    )
    for name in ("statistics", "histograms", "ranges", "asymmetry", "one_signed", "update_ratio"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for mine, theirs in zip(one.units, other.units, strict=True):
        assert mine is not None
        assert theirs is not None
        np.testing.assert_array_equal(mine.mean, theirs.mean)
