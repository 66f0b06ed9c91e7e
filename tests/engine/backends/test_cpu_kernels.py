"""Compiled kernels against the formulas that they replace."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.activations import Activation, Identity, ReLU, Sigmoid, Tanh, activations
from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Backend
from engine.backends.cpu_kernels import compiler, library
from engine.data.dataset import Dataset, Examples
from engine.initializers import He
from engine.layers.base import Scope
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network
from engine.network.parameters import allocate
from engine.optimization.optimizers import SGD, Optimizer, optimizers
from engine.statistics.dead_units import DeadUnitTracker
from engine.statistics.frames import FIELDS, WIDTH_IN_RMS, Snapshot
from engine.statistics.symmetry import bind_asymmetry, bind_one_signed, one_signed
from engine.statistics.tensor_statistics import StatisticsTable, TensorSource
from engine.statistics.units import UnitProbe
from engine.training.trainer import Trainer
from engine.training.training_step import bind_accuracy
from tests.engine.conftest import Array
from tests.engine.network.test_batch_shards import CLASSES, FEATURES, NETWORKS, gone_through
from tests.engine.variants import OPTIMIZERS, name

DTYPES = ("float32", "float64")


@pytest.fixture(params=DTYPES)
def pair(request: pytest.FixtureRequest) -> tuple[Backend, Backend]:
    """A back-end with kernels, and one with formulas alone."""
    return with_kernels(request.param), NumPyBackend(request.param)


def with_kernels(dtype: str) -> Backend:
    if library.kernels(dtype) is None:
        pytest.skip(f"no kernels here: {library.missing(dtype)}")
    return make_backend("numpy", dtype)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_close(actual: Any, expected: Any, dtype: Any, scale: float = 1.0) -> None:
    """Assert that both are equal within rounding, of numbers that are of this scale."""
    relative, absolute = (2e-5, 1e-6) if dtype == np.float32 else (1e-11, 1e-12)
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute * scale)


class TestToTheLastBit:
    """What a kernel does operation by operation, as the formula does."""

    @pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
    def test_updates(self, optimizer: Optimizer, pair: tuple[Backend, Backend]) -> None:
        results = []
        for backend in pair:
            layer = Linear(13)
            store = allocate([layer.parameters((7,))], [{}], backend, rng())
            hyper = optimizer.hyperparameters()
            bound = optimizer.bind(store, hyper, backend)
            for seed in range(4):
                store.gradients[...] = rng(seed).normal(size=store.gradients.shape)
                bound.update()
            hyper["learning_rate"] = 0.3  # read again at each step
            bound.update()
            results.append([store.values, *(bound.state[key] for key in sorted(bound.state))])
        for by_kernel, by_formula in zip(*results, strict=True):
            np.testing.assert_array_equal(by_kernel, by_formula)

    @pytest.mark.parametrize(
        "f", [cls() for cls in activations.values() if any(cls.kernels)], ids=name
    )
    def test_activations(self, f: Activation, pair: tuple[Backend, Backend]) -> None:
        odd = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1e30, -1e30]
        x = np.concatenate([rng().normal(0, 3, 5 * 7 * 11 - len(odd)), odd]).reshape(5, 77)
        dy = rng(1).normal(size=x.shape)
        results = []
        for backend in pair:
            bound = Nonlinearity(f).bind((77,), Scope(backend, 5, {}, {}, {}))
            with np.errstate(all="ignore"):
                y = bound.forward(backend.to_device(x), True)
                results.append((y, bound.backward(backend.to_device(dy))))
        for by_kernel, by_formula in zip(*results, strict=True):
            np.testing.assert_array_equal(by_kernel, by_formula)


class TestLosses:
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
    def test_loss_and_gradient(
        self, smoothing: float, scale: float, pair: tuple[Backend, Backend]
    ) -> None:
        results = []
        scores, labels = rng().normal(0, scale, (33, 5)), rng(1).integers(0, 5, 33)
        for backend in pair:
            bound = SoftmaxCrossEntropy(smoothing).bind((5,), 33, backend)
            loss = bound.forward(backend.to_device(scores), labels)
            results.append((loss, bound.backward().copy()))
        (by_kernel, its_gradient), (by_formula, gradient) = results
        assert_close(by_kernel, by_formula, pair[0].dtype)
        assert_close(its_gradient, gradient, pair[0].dtype)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite_stays_so(self, bad: float, pair: tuple[Backend, Backend]) -> None:
        scores = rng().normal(size=(4, 3))
        scores[2, 1] = bad
        for backend in pair:
            bound = SoftmaxCrossEntropy().bind((3,), 4, backend)
            with np.errstate(invalid="ignore"):
                loss = bound.forward(backend.to_device(scores), np.array([0, 1, 2, 0]))
            assert not np.isfinite(loss)

    def test_every_power_of_e_is_exact_to_its_last_digits(
        self, pair: tuple[Backend, Backend]
    ) -> None:
        backend, dtype = pair[0], pair[0].dtype
        x = np.linspace(0, -np.log(10_001 * np.finfo(dtype).tiny), 10_001).astype(dtype)
        scores = backend.to_device(np.stack([np.zeros_like(x), -x], axis=1))
        bound = SoftmaxCrossEntropy().bind((2,), len(x), backend)
        bound.forward(scores, np.zeros(len(x), np.int64))
        power = np.exp(-x.astype(np.longdouble))
        share = bound.backward()[:, 1].astype(np.longdouble) * len(x)
        np.testing.assert_allclose(share, power / (1 + power), rtol=4 * np.finfo(dtype).eps)

    def test_what_no_number_can_tell_is_nothing(self, pair: tuple[Backend, Backend]) -> None:
        for backend in pair:
            bound = SoftmaxCrossEntropy().bind((2,), 2, backend)
            loss = bound.forward(
                backend.to_device(np.array([[0, -1e4], [0, -1e4]])), np.array([0, 1])
            )
            np.testing.assert_array_equal(bound.backward(), [[0, 0], [0.5, -0.5]])
            assert loss == pytest.approx(5000)

    def test_right_answers(self, pair: tuple[Backend, Backend]) -> None:
        scores = rng().integers(0, 3, (500, 4)).astype(float)  # many are equal
        scores[::7, 1] = np.nan
        scores[::11, 3] = np.nan
        labels = rng(1).integers(0, 4, 500)
        expected = (scores.argmax(axis=1) == labels).mean()
        for backend in pair:
            assert bind_accuracy(500, backend)(backend.to_device(scores), labels) == expected


class TestBatchNorm:
    @pytest.mark.parametrize("shape", [(2, 1), (33, 65), (70, 3, 4, 5), (300, 130)])
    @pytest.mark.parametrize("mean", [0.0, 1e4])
    def test_forwards_and_backwards(
        self, shape: tuple[int, ...], mean: float, pair: tuple[Backend, Backend]
    ) -> None:
        layer, results = BatchNorm(), []
        for backend in pair:
            x = shape[1:]
            store = allocate([layer.parameters(x)], [layer.state(x)], backend, rng())
            store.values[...] = rng(1).normal(1, 0.3, store.values.shape)
            views = store.value_views[0], store.gradient_views[0], store.state_views[0]
            bound = layer.bind(x, Scope(backend, shape[0], *views))
            batch, dy = (rng(seed).normal(mean * (seed == 2), 2, shape) for seed in (2, 3))
            y = bound.forward(backend.to_device(batch), True).copy()
            dx = bound.backward(backend.to_device(dy)).copy()
            after = bound.forward(backend.to_device(batch), False).copy()
            results.append([y, dx, store.gradients.copy(), store.state.copy(), after])
        scale = 20 + 30 * mean  # a mean of 1e4 leaves few bits for what is around it
        for by_kernel, by_formula in zip(*results, strict=True):
            assert_close(by_kernel, by_formula, pair[0].dtype, scale)


class TestTable:
    """Statistics of tensors."""

    def tables(
        self, tensors: list[Array], activation: Activation | None = None
    ) -> list[StatisticsTable]:
        dtype = tensors[0].dtype.name
        tables = []
        for backend in (with_kernels(dtype), NumPyBackend(dtype)):
            bounds = (None, None) if activation is None else activation.bounds
            limits = None if activation is None else activation.saturated
            rows = [TensorSource(tensor.copy(), None, bounds, limits) for tensor in tensors]
            table = StatisticsTable(backend, rows)
            table.measure(0, len(rows))
            table.complete(0, len(rows))
            tables.append(table)
        return tables

    def compare(self, tensors: list[Array], activation: Activation | None = None) -> None:
        by_kernel, by_formula = self.tables(tensors, activation)
        for at, tensor in enumerate(tensors):
            mine, expected = by_kernel.statistics[at], by_formula.statistics[at]
            largest = np.abs(tensor[np.isfinite(tensor)], dtype=np.float64).max(initial=0)
            assert_close(mine, expected, tensor.dtype, 10 * largest)
            for exact in ("count", "min", "max", "zero_fraction", "saturated_fraction"):
                column = FIELDS.index(exact)
                assert mine[column] == expected[column] or np.isnan(mine[column] + expected[column])
            rms = WIDTH_IN_RMS * np.hypot(*expected[[FIELDS.index("mean"), FIELDS.index("std")]])
            with np.errstate(divide="ignore", invalid="ignore"):
                power = np.log2(rms)
                between = not abs(power - np.round(power)) < 1e-5
            if between:  # else rounding decides between two ranges
                np.testing.assert_array_equal(by_kernel.ranges[at], by_formula.ranges[at])
                np.testing.assert_array_equal(by_kernel.histograms[at], by_formula.histograms[at])
            assert by_kernel.histograms[at].sum() == by_formula.histograms[at].sum()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("size", [1, 2, 255, 4096, 4097, 32768, 32769, 250_000])
    @pytest.mark.parametrize("activation", [None, ReLU(), Tanh(), Sigmoid()], ids=name)
    def test_as_by_numpy(self, size: int, dtype: str, activation: Activation | None) -> None:
        values = rng(size).normal(0.1, 0.7, size).astype(dtype)
        if isinstance(activation, ReLU):
            values = np.maximum(values, 0)
        elif activation is not None:
            values = np.clip(values, -1, 1)
        self.compare([values, values[: size // 2 + 1], 3 * values], activation)

    @settings(max_examples=150, deadline=None)
    @given(
        hnp.arrays(
            np.float32,
            st.integers(1, 300),
            elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
        )
    )
    def test_of_anything(self, values: Array) -> None:
        self.compare([values])

    @pytest.mark.parametrize("value", [0.0, 0.1, -3e-39, 1e38])
    def test_of_a_constant(self, value: float) -> None:
        by_kernel, _ = self.tables([np.full(1000, value, np.float32)])
        assert by_kernel.statistics[0, FIELDS.index("std")] == 0

    def test_a_large_mean_does_not_ruin_the_variance(self) -> None:
        values = (1e4 + rng().normal(0, 0.5, 50_000)).astype(np.float32)
        by_kernel, _ = self.tables([values])
        std = by_kernel.statistics[0, FIELDS.index("std")]
        assert std == pytest.approx(values.std(dtype=np.float64), rel=1e-9)

    @pytest.mark.parametrize("bad", [0.0, np.nan])
    def test_of_a_difference(self, bad: float, pair: tuple[Backend, Backend]) -> None:
        a, b = (rng(seed).normal(size=(60, 700)) for seed in (0, 1))
        a[3, 4] += bad
        results = []
        for backend in pair:
            table = StatisticsTable(
                backend, [TensorSource(backend.to_device(a), backend.to_device(b.copy()))]
            )
            table.measure(0, 1)
            table.complete(0, 1)
            results.append(table)
        assert_close(results[0].statistics, results[1].statistics, pair[0].dtype)
        np.testing.assert_array_equal(results[0].histograms, results[1].histograms)


class TestUnits:
    @pytest.mark.parametrize("f", [ReLU(), Tanh(), Sigmoid()], ids=name)
    def test_what_each_does(self, f: Activation, pair: tuple[Backend, Backend]) -> None:
        results = []
        for backend in pair:
            network = Network([Linear(300, He()), Nonlinearity(f), Linear(3)])
            bound = BoundNetwork.of(network, (600, 20), backend, generator=rng())
            outputs = [(bound.bound[at].output, g) for at, g in ((1, f), (2, Identity()))]
            probes = [UnitProbe(backend, output, g.silent_at, g.saturated) for output, g in outputs]
            tracker = DeadUnitTracker(backend, [(output, g.silent_at) for output, g in outputs])
            for seed in range(2):
                bound.forward(backend.to_device(rng(seed).normal(size=(600, 20))), True)
                tracker.update()
            of_units = [probe.measure() for probe in probes]
            results.append((of_units, [highest for _, highest in tracker.tracked]))
        for mine, expected in zip(results[0][0], results[1][0], strict=True):
            assert_close(mine.mean, expected.mean, np.float32)
            for shares, others in (
                (mine.active, expected.active),
                (mine.saturated, expected.saturated),
            ):
                assert (shares is None) == (others is None)
                if shares is not None and others is not None:
                    np.testing.assert_allclose(shares, others, atol=1e-6)
        for mine_highest, highest in zip(results[0][1], results[1][1], strict=True):
            np.testing.assert_array_equal(mine_highest, highest)

    @pytest.mark.parametrize("scale", [0.0, 1e-200, 1e-38, 1.0, 1e38, 1e200, np.nan])
    def test_asymmetry(self, scale: float, pair: tuple[Backend, Backend]) -> None:
        for shape in ((1, 5), (7, 3), (900, 300)):
            with np.errstate(over="ignore"):  # 1e200 is infinite in float32
                weight = pair[0].to_device(rng().normal(0.2, 1, shape) * scale / 6)
            mine, expected = (bind_asymmetry(backend, weight)() for backend in pair)
            np.testing.assert_allclose(mine, expected, rtol=1e-9)

    def test_equal_units_have_no_asymmetry_at_all(self, pair: tuple[Backend, Backend]) -> None:
        same = pair[0].to_device(np.repeat(rng().normal(size=(40, 1)), 30, axis=1))
        assert bind_asymmetry(pair[0], same)() == 0

    def test_a_unit_that_gives_nan_counts_as_active(self, pair: tuple[Backend, Backend]) -> None:
        for backend in pair:
            output = backend.full((4, 3), 0.0)
            tracker = DeadUnitTracker(backend, [(output, 0.0)])
            output[2, 1] = np.nan
            output[3, 2] = 1e-3
            tracker.update()
            ((_, highest),) = tracker.tracked
            np.testing.assert_array_equal(highest, [0, np.inf, np.inf])
            tracker.end_epoch()
            assert tracker.fraction[0] == pytest.approx(1 / 3)

    @pytest.mark.parametrize("bad", [1.0, np.nan])
    def test_one_signed(self, bad: float, pair: tuple[Backend, Backend]) -> None:
        for batch, inputs, units in ((1, 1, 1), (50, 3, 4), (500, 9, 70)):
            x, dz = rng().normal(size=(batch, inputs)), rng(1).normal(size=(batch, units))
            x[::2] = np.abs(x[::2])
            x[::3] = -np.abs(x[::3])
            x[::5] *= bad
            dz[dz < 0.3] = 0
            taken, gradient = partial(pair[0].to_device, x), pair[0].to_device(dz)
            mine, expected = (bind_one_signed(each, taken, gradient)() for each in pair)
            np.testing.assert_equal(mine, expected)
        assert np.isnan(one_signed(np.ones((3, 2)), np.zeros((3, 4))))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_goes_through_steps_as_by_formulas(network: str) -> None:
    results = []
    for backend in (with_kernels("float64"), NumPyBackend("float64")):
        made = Network(NETWORKS[network])
        results.append(
            gone_through(BoundNetwork.of(made, (37, FEATURES), backend, generator=rng()))
        )
    for by_kernel, by_formula in zip(*results, strict=True):
        np.testing.assert_allclose(by_kernel, by_formula, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), *OPTIMIZERS[-2:]], ids=name)
def test_a_run_is_as_one_by_formulas(optimizer: Optimizer) -> None:
    def trained(backend: Backend) -> tuple[Array, list[Snapshot], list[float]]:
        x, y = rng().normal(size=(60, FEATURES)), rng(1).integers(0, CLASSES, 60)
        data = Dataset("made up", ("a", "b", "c"), Examples(x, y), None)
        network = Network(NETWORKS["batch norm"])
        trainer = Trainer(
            network, data, optimizer=optimizer, steps=25, batch_size=20, backend=backend,
            snapshot_at=range(0, 25, 5),
        )  # fmt: skip
        frames = list(trainer.frames(interval=1e9))
        losses = [float(loss) for frame in frames for loss in frame.loss]
        values = trainer.training_step.network.store.values
        return values, [frame.snapshot for frame in frames if frame.snapshot], losses

    (values, snapshots, losses), (other_values, others, other_losses) = (
        trained(backend) for backend in (with_kernels("float64"), NumPyBackend("float64"))
    )
    np.testing.assert_allclose(values, other_values, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(losses, other_losses, rtol=1e-8)
    assert len(snapshots) == len(others) > 3
    for mine, expected in zip(snapshots, others, strict=True):
        np.testing.assert_allclose(mine.statistics, expected.statistics, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(mine.asymmetry, expected.asymmetry, rtol=1e-6)
        np.testing.assert_allclose(mine.update_ratio, expected.update_ratio, rtol=1e-6)


class TestCalls:
    """What kernels are given."""

    def kernel(self, *fixed: Any, sizes: Sequence[int] = ()) -> Callable[..., Any]:
        kernel = with_kernels("float32").kernel("relu_forward", *fixed, sizes=sizes)
        assert kernel is not None
        return kernel

    def test_an_array_of_another_type_is_converted_to_be_read(self) -> None:
        y = np.empty(4, np.float32)
        self.kernel(y, 4)(np.array([-1.0, 2.0, -3.0, 4.0]))
        np.testing.assert_array_equal(y, [0, 2, 0, 4])
        with pytest.raises(TypeError, match="takes float32, not complex128"):
            self.kernel(y, 4)(np.ones(4, complex))

    def test_it_writes_into_no_array_of_another_type(self) -> None:
        with pytest.raises(TypeError, match="needs contiguous float32, not float64"):
            self.kernel(np.empty(4), 4)

    def test_an_array_of_another_size_is_refused(self) -> None:
        relu = self.kernel(np.empty(4, np.float32), 4, sizes=[4])
        with pytest.raises(ValueError, match="4 elements here, not 3"):
            relu(np.ones(3, np.float32))

    @pytest.mark.parametrize("rows", [1, 9])
    def test_a_layer_or_a_loss_bound_for_another_batch_is_refused(self, rows: int) -> None:
        backend = with_kernels("float32")
        x = np.ones((rows, 3), np.float32)
        relu = Nonlinearity(ReLU()).bind((3,), Scope(backend, 4, {}, {}, {}))
        with pytest.raises(ValueError, match="elements"):
            relu.forward(x, True)
        with pytest.raises(ValueError, match="elements"):
            relu.backward(x)
        loss = SoftmaxCrossEntropy().bind((3,), 4, backend)
        with pytest.raises(ValueError, match="elements"):
            loss.forward(np.ones((4, 3), np.float32), np.zeros(rows, np.int64))

    def test_it_writes_into_no_copy(self) -> None:
        with pytest.raises(TypeError, match="contiguous"):
            self.kernel(np.empty((4, 2), np.float32)[:, 0], 4)

    def test_what_it_reads_may_lie_anyhow_and_change(self) -> None:
        y, x = np.empty(4, np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
        relu = self.kernel(y, 4)
        for _ in range(2):
            relu(x[:, 1])
            np.testing.assert_array_equal(y, x[:, 1])
            x += 1
        column = x[:, 0]
        for _ in range(2):
            relu(column)
            np.testing.assert_array_equal(y, column)
            x += 1

    def test_arguments_are_counted(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            self.kernel(np.empty(4, np.float32), 4)()

    def test_there_is_none_of_another_name(self) -> None:
        with pytest.raises(KeyError, match="no such thing"):
            with_kernels("float32").kernel("no such thing")
        assert NumPyBackend("float32").kernel("relu_forward") is None

    def test_every_kernel_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = set()
        bind = library.Kernels.bind

        def noted(self: library.Kernels, kernel: str, *fixed: Any, **more: Any) -> Any:
            asked.add(kernel)
            return bind(self, kernel, *fixed, **more)

        monkeypatch.setattr(library.Kernels, "bind", noted)
        backend = with_kernels("float64")
        for f in (ReLU(), Tanh(), Sigmoid()):
            data = Dataset("made up", ("a", "b"), Examples(np.ones((4, 2)), np.zeros(4, int)), None)
            network = Network([Linear(3), BatchNorm(), Nonlinearity(f), Linear(2)])
            for optimizer in (cls() for cls in optimizers.values()):
                Trainer(network, data, optimizer=optimizer, steps=1, backend=backend)
        heads = library.HEAD.findall(compiler.source("float64"))
        assert asked == {kernel for _, kernel, _ in heads}
