"""What a device must compute, piece by piece: run by pytest, and first of all by the benchmark.

Each check takes a back-end with a launcher, on a GPU or emulated, and returns how far what it found
is from the engine's own formulas on NumPy in float64. Whatever differs more than rounding explains
raises an AssertionError that names it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from engine.activations import activations
from engine.activations.piecewise import ReLU
from engine.activations.smooth import GELU, Tanh
from engine.backends import NumPyBackend
from engine.backends.base import Backend
from engine.cuda_graph import launches
from engine.cuda_graph.launcher import Launcher
from engine.cuda_graph.plan import Launch, Product, products
from engine.cuda_graph.sources import SCALARS
from engine.cuda_graph.statistics import Statistics
from engine.cuda_graph.step_plan import OPTIMIZERS, scalars_of
from engine.cuda_graph.step_queue import StepQueue
from engine.data.dataset import Dataset, Examples
from engine.initializers import He
from engine.layers.base import Layer, Scope
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.dropout import Dropout
from engine.layers.layer_norm import LayerNorm
from engine.layers.linear import Linear
from engine.layers.maxout import Maxout
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.pool2d import AvgPool2d, MaxPool2d
from engine.layers.prelu import PReLU
from engine.layers.reshape import Flatten, Image
from engine.layers.residual import Residual
from engine.losses import losses
from engine.network import BoundNetwork, Network, mlp
from engine.network.parameters import allocate
from engine.optimization.optimizers import SGD, Adam, AdamW, Optimizer, RMSProp, optimizers
from engine.statistics.frames import TENSORS, Snapshot
from engine.training.probes import Probes
from engine.training.step_runner import CompletedStep, EagerStepRunner, StepRunner
from engine.training.trainer import Trainer
from engine.training.training_step import bind_accuracy

Host = npt.NDArray[Any]
REFERENCE: Final = NumPyBackend("float64")
ROUNDING: Final = {"float32": 2e-5, "float64": 1e-12}
"""Of a kernel or product: the largest difference, relative to the largest value."""
DRIFT: Final = {"float32": 3e-3, "float64": 1e-8}
"""The same after the steps of a training."""
REPEATS: Final = 20
SHAPES: Final = ((1, 1), (1, 31), (33, 1), (31, 33), (257, 7), (7, 257), (700, 70))
SIZES: Final = (1, 31, 33, 257, 5000)  # the last: several blocks
STEPS: Final = 40  # more than may be on their way, so that the ring of results wraps
MEASURED: Final = (0, 5, STEPS - 1)
BATCH, FEATURES, CLASSES = 20, 6, 3


@dataclass(frozen=True)
class Check:
    """One check by name; it returns its largest deviation."""

    name: str
    run: Callable[[], float]


def launcher_of(backend: Backend) -> Launcher:
    """Return the launcher of a back-end that has one."""
    assert backend.launcher is not None
    return cast("Launcher", backend.launcher)


def random(*shape: int, seed: int = 0) -> Host:
    return np.random.default_rng(seed).normal(size=shape)


def deviation(found: Any, expected: Any, most: float, what: str) -> float:
    """Return the largest difference, relative to the largest value; assert that it is at most so.

    What is not finite must be so in both, and the same.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape} for {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite], what)
    assert np.isfinite(found[finite]).all(), f"{what}: not finite"
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(expected[finite]).max()), 1e-30)
    far = float(np.abs(found[finite] - expected[finite]).max()) / scale
    assert far <= most, f"{what}: off by {far:.2g} of the largest value, {most:g} is allowed"
    return far


# Products


def check_products(backend: Backend) -> float:
    """Matrices, transposed and not, stacks with gaps, a shared matrix; run, and in a graph."""
    launcher, most = launcher_of(backend), ROUNDING[backend.dtype.name]
    far = 0.0
    for number, (rows, inner, columns) in enumerate([(2, 3, 4), (31, 257, 33), (1, 7, 5)]):
        a, b = random(rows, inner, seed=number), random(inner, columns, seed=9)
        for turn_a in (False, True):
            for turn_b in (False, True):
                stored = [
                    backend.to_device(np.ascontiguousarray(m.T if turn else m), backend.dtype)
                    for m, turn in ((a, turn_a), (b, turn_b))
                ]
                out = backend.full((rows, columns), np.nan)
                item = Product(stored[0], stored[1], out, turn_a, turn_b)
                for run in (partial(launcher.run, [item]), launcher.capture([item])):
                    out.fill(np.nan)
                    run()
                    name = f"product {rows}×{inner}×{columns}, transposed {turn_a}, {turn_b}"
                    far = max(far, deviation(backend.to_host(out), a @ b, most, name))
    a, b = random(6, 5, 4), random(6, 4, 3, seed=1)
    vector = random(5, seed=2)
    with_gaps, flipped = backend.to_device(a, backend.dtype), a.transpose(0, 2, 1).copy()
    pairs: list[tuple[str, Any, Any, Host]] = [
        ("a stack", with_gaps, backend.to_device(b, backend.dtype), a @ b),
        ("gaps", with_gaps[:, 1:], backend.to_device(b, backend.dtype), a[:, 1:] @ b),
        ("a shared matrix", with_gaps, backend.to_device(b[0], backend.dtype), a @ b[0]),
        (
            "a transposed stack",
            backend.to_device(flipped, backend.dtype).swapaxes(-1, -2),
            backend.to_device(b, backend.dtype),
            a @ b,
        ),
        ("a vector", backend.to_device(vector, backend.dtype), with_gaps[0], vector @ a[0]),
    ]
    for name, left, right, expected in pairs:
        out = backend.full(expected.shape, np.nan)
        plan = products(left, right, out)
        for run in (partial(launcher.run, plan), launcher.capture(plan)):
            out.fill(np.nan)
            run()
            far = max(far, deviation(backend.to_host(out), expected, most, f"product of {name}"))
    return far


# Kernels. Each builder makes a launch over fresh arrays; with it come the arrays that it changes
# and what they should be then.

Built = tuple[Launch, list[tuple[Any, Host]]]


class Kernels:
    """Builders of launches over arrays of one back-end."""

    def __init__(self, backend: Backend, repeats: int) -> None:
        self.backend, self.launcher, self.repeats = backend, launcher_of(backend), repeats
        self.most = ROUNDING[backend.dtype.name]

    def put(self, values: Host, dtype: Any = None) -> Any:
        """Copy to the device; floats as the back-end's dtype unless another is given."""
        floating = np.issubdtype(values.dtype, np.floating)
        array = self.backend.to_device(
            values.copy(), dtype or (self.backend.dtype if floating else None)
        )
        empty = self.backend.empty(array.shape, array.dtype)
        empty[...] = array
        return empty

    def rounded(self, *shape: int, seed: int = 0) -> Host:
        """Return random numbers that the back-end's dtype can hold, in float64."""
        return random(*shape, seed=seed).astype(self.backend.dtype).astype(np.float64)

    def check(self, name: str, build: Callable[[], Built]) -> float:
        """Compare with what is expected, and all runs to the last bit."""
        first: list[Host] = []
        far = 0.0
        for _ in range(self.repeats):
            launch, outputs = build()
            counters = [a for a in launch.arguments if a.dtype == np.int32 and a.ndim]
            before = [self.backend.to_host(each).copy() for each in counters]
            self.launcher.run([launch])
            for counter, was in zip(counters, before, strict=True):
                np.testing.assert_array_equal(self.backend.to_host(counter), was, name)
            found = [self.backend.to_host(array).copy() for array, _ in outputs]
            if not first:
                first = found
                for at, (values, (_, expected)) in enumerate(zip(found, outputs, strict=True)):
                    far = max(far, deviation(values, expected, self.most, f"{name}, output {at}"))
            for values, as_before in zip(found, first, strict=True):
                np.testing.assert_array_equal(values, as_before, f"{name}: differs from run to run")
        return far

    def zeros(self, size: int, dtype: Any) -> Any:
        return launches.zeros(self.backend, size, dtype)

    def alive(self) -> Any:
        return self.put(np.ones(1, np.int32))

    def scalars(self, **values: float) -> Any:
        given = np.array([values.get(name, 0.0) for name in SCALARS])
        return self.put(given, np.float64)

    def forward(self, name: str, shape: tuple[int, int]) -> Built:
        f, x, bias = dict(activations.items())[name](), self.rounded(*shape), self.rounded(shape[1])
        z, y = self.put(x), self.backend.empty(shape)
        expected = np.empty(shape)
        f.forward(REFERENCE, x + bias, expected, [np.empty(shape) for _ in range(f.scratch)])
        return launches.activate(f, z, self.put(bias), y), [(y, expected), (z, x + bias)]

    def backward(self, name: str, shape: tuple[int, int]) -> Built:
        f, x, dy = (
            dict(activations.items())[name](),
            self.rounded(*shape),
            self.rounded(*shape, seed=1),
        )
        y, expected = np.empty(shape), np.empty(shape)
        scratch = [np.empty(shape) for _ in range(f.scratch)]
        f.forward(REFERENCE, x, y, scratch)
        f.backward(REFERENCE, x, y, dy, expected, scratch)
        dx, db = self.backend.empty(shape), self.backend.empty(shape[1:])
        arrays = self.put(x), self.put(y), self.put(dy), dx
        launch = launches.activate_backward(f, arrays, db, self.backend)
        return launch, [(dx, expected), (db, expected.sum(axis=0))]

    def _norm(self, shape: tuple[int, int]) -> tuple[Any, Any, Host, Host]:
        """Return a batch norm on the host, its arrays, and x and dy."""
        x, dy = 2 + self.rounded(*shape), self.rounded(*shape, seed=1)
        x = x.astype(self.backend.dtype).astype(np.float64)
        layer = BatchNorm()
        features = shape[1:]
        store = allocate(
            *([layer.parameters(features)], [layer.state(features)]),
            *(REFERENCE, np.random.default_rng(0)),
        )
        store.values[...] = self.rounded(store.values.size, seed=2)
        views = store.value_views[0], store.gradient_views[0], store.state_views[0]
        return layer.bind(features, Scope(REFERENCE, shape[0], *views)), store, x, dy

    def batch_norm_forward(self, shape: tuple[int, int]) -> Built:
        bound, store, x, _ = self._norm(shape)
        gamma, beta = (self.put(store.value_views[0][name]) for name in ("gamma", "beta"))
        names = "running_mean", "running_var"
        averages = [self.put(store.state_views[0][name]) for name in names]
        y, *scratch = (self.backend.empty(size) for size in (shape, shape[1:], shape[1:]))
        arrays = self.put(x), gamma, beta, y
        launch = launches.Normalization(*scratch).forward(
            BatchNorm(), arrays, averages, self.alive()
        )
        expected = bound.forward(x, True)
        after = [store.state_views[0][name] for name in names]
        return launch, [(y, expected), *zip(averages, after, strict=True)]

    def batch_norm_backward(self, shape: tuple[int, int]) -> Built:
        bound, store, x, dy = self._norm(shape)
        bound.forward(x, True)
        expected = bound.backward(dy)
        mean = x.mean(axis=0)
        norm = launches.Normalization(
            self.put(mean), self.put(1 / np.sqrt(x.var(axis=0) + BatchNorm().epsilon))
        )
        gradients = [self.backend.empty(size) for size in (shape, shape[1:], shape[1:])]
        arrays = self.put(x), self.put(dy), self.put(store.value_views[0]["gamma"])
        after = [expected, *(store.gradient_views[0][name] for name in ("gamma", "beta"))]
        return norm.backward(arrays, gradients), list(zip(gradients, after, strict=True))

    def loss(self, name: str, shape: tuple[int, int]) -> Built:
        loss, scores = dict(losses.items())[name](), 3 * self.rounded(*shape)
        labels = np.random.default_rng(3).integers(0, shape[1], shape[0])
        bound = loss.bind(shape[1:], shape[0], REFERENCE)
        value, slope = bound.forward(scores, labels), bound.backward()
        accuracy = bind_accuracy(shape[0], REFERENCE)(scores, labels)
        ds, result = self.backend.empty(shape), self.zeros(3, np.float64)
        arrays = self.put(scores), self.put(labels), ds
        launch = launches.loss(loss, arrays, result, self.alive(), self.backend)
        return launch, [(ds, slope), (result, np.array([value, value, accuracy]))]

    def penalty(self, size: int) -> Built:
        w, g = self.rounded(size), self.rounded(size, seed=1)
        gradients, result = self.put(g), self.put(np.array([3.0, 3.0, 0.5]), np.float64)
        launch = launches.over_flat(
            *("penalty", size, self.put(w), gradients, self.scalars(weight_decay=0.1, l1=0.02)),
            *(*launches.summing(self.backend, size), result, self.alive()),
        )
        total = 3 + 0.05 * w @ w + 0.02 * np.abs(w).sum()
        after = g + 0.1 * w + 0.02 * np.sign(w)
        return launch, [(gradients, after), (result, np.array([total, 3.0, 0.5]))]

    def clip_norm(self, size: int) -> Built:
        g, factor = self.rounded(size), self.zeros(1, np.float64)
        given = self.scalars(clip_norm=0.3, clip_value=0.5)
        scratch = launches.summing(self.backend, size)
        launch = launches.over_flat("clip_norm", size, self.put(g), given, *scratch, factor)
        norm = np.linalg.norm(np.clip(g, -0.5, 0.5)) + 1e-6
        return launch, [(factor, np.array([min(1.0, 0.3 / norm)]))]

    def optimizer(self, name: str, size: int) -> Built:
        """The second update, by the engine's own optimiser on the host and by the kernel."""
        settings: dict[str, float] = {} if name not in ("sgd", "nesterov") else {"momentum": 0.9}
        kind = replace(dict(optimizers.items())[name](), **settings)
        values, gradients = self.rounded(size), self.rounded(size, seed=1)
        store: Any = SimpleNamespace(values=values, gradients=gradients, decaying=(size + 1) // 2)
        hyper = kind.hyperparameters()
        bound = kind.bind(store, hyper, REFERENCE)
        bound.update()
        kernel, names = OPTIMIZERS[type(kind)]
        state = [self.put(bound.state[each]) for each in names]
        ours, g = self.put(values), self.put(gradients)
        given = self.put(np.array(scalars_of(hyper, kind, 2)), np.float64)
        one = self.put(np.ones(1), np.float64)
        launch = launches.over_flat(kernel, size, ours, g, *state, given, one, self.alive())
        if kernel == "adam":
            launch = replace(launch, arguments=(*launch.arguments, np.int32((size + 1) // 2)))
        bound.update()
        after = zip(state, (bound.state[each] for each in names), strict=True)
        return launch, [(ours, values), *after]

    def max_norm(self, shape: tuple[int, int]) -> Built:
        w = self.rounded(*shape)
        weight = self.put(w)
        norm = np.linalg.norm(w, axis=0)
        launch = launches.max_norm(weight, self.scalars(max_norm=1.5), self.alive())
        return launch, [(weight, w * np.minimum(1, 1.5 / norm))]

    def gather(self, shape: tuple[int, int]) -> Built:
        x, rows = self.rounded(50, shape[1]), np.random.default_rng(1).integers(0, 50, shape[0])
        batch_x, batch_y = self.backend.empty(shape), self.zeros(shape[0], np.int64)
        y = np.arange(50)
        arrays = self.put(x), self.put(y), self.put(rows), batch_x, batch_y
        return launches.gather(*arrays), [(batch_x, x[rows]), (batch_y, y[rows])]

    def highest_outputs(self, shape: tuple[int, int]) -> Built:
        outputs = [self.rounded(*shape), self.rounded(5, 3, seed=1)]
        before = [np.zeros(shape[1]), np.array([5.0, -9.0, -9.0])]
        arrays = [self.put(each) for each in outputs]
        highest = [self.put(each) for each in before]
        watched = list(zip(arrays, highest, strict=True))
        launch = launches.highest_outputs(
            watched, self.alive(), self.backend, self.launcher.pointer
        )
        assert launch is not None
        self._kept = watched  # the launch knows only their addresses
        after = [np.maximum(b, o.max(axis=0)) for b, o in zip(before, outputs, strict=True)]
        return launch, list(zip(highest, after, strict=True))

    def restore_averages(self, size: int) -> Built:
        state, before = self.put(self.rounded(size)), self.rounded(size, seed=1)
        dead = self.zeros(1, np.int32)
        launch = launches.over_flat("restore_averages", size, state, self.put(before), dead)
        return launch, [(state, before)]


def kernel_checks(backend: Backend, repeats: int) -> Iterator[Check]:
    """Yield a check of each kernel at each size."""
    kernels = Kernels(backend, repeats)

    def check(name: str, build: Callable[[Any], Built], sizes: Sequence[Any]) -> Check:
        def run() -> float:
            named = [(f"{name} {size}", partial(build, size)) for size in sizes]
            return max(kernels.check(*each) for each in named)

        return Check(name, run)

    for name, _ in activations.items():
        yield check(f"{name} forward", partial(kernels.forward, name), SHAPES)
        yield check(f"{name} backward", partial(kernels.backward, name), SHAPES)
    for name, _ in losses.items():
        shapes = [(rows, columns) for rows, columns in SHAPES if columns > 1] + [(1000, 10)]
        yield check(name, partial(kernels.loss, name), shapes)
    for name, _ in optimizers.items():
        yield check(name, partial(kernels.optimizer, name), SIZES)
    for build in (kernels.penalty, kernels.clip_norm, kernels.restore_averages):
        yield check(build.__name__, build, SIZES)
    for norm in (kernels.batch_norm_forward, kernels.batch_norm_backward):
        shapes = [(rows, columns) for rows, columns in SHAPES if rows > 1]
        yield check(norm.__name__, norm, shapes)
    for tiles in (kernels.max_norm, kernels.gather, kernels.highest_outputs):
        yield check(tiles.__name__, tiles, SHAPES)


# Whole trainings


def data() -> Dataset:
    """Return blobs that overlap: what is learnt by heart leaves gradients of rounding errors."""
    generator = np.random.default_rng(0)
    y = np.arange(5 * BATCH) % CLASSES
    x = generator.normal(0, 0.5, (CLASSES, FEATURES))[y] + generator.normal(size=(len(y), FEATURES))
    return Dataset("blobs", tuple("abc"), Examples(x, y), None)


@dataclass
class Training:
    """What 40 steps have left: numbers on the host."""

    losses: Host
    arrays: dict[str, Host]
    snapshots: list[Snapshot]
    reason: str
    queued: bool


def plain(activation: Any = None, **settings: Any) -> Network:
    """Return a small network."""
    return mlp([9, 40], CLASSES, activation=activation or ReLU(), initializer=He(), **settings)


def train(
    backend: Backend, network: Network, *, eager: bool = False, clip: bool = False, **settings: Any
) -> Training:
    """Make STEPS steps; with `clip` the gradient is clipped in the middle ones alone."""
    chosen: dict[str, Any] = {"optimizer": SGD(0.05, momentum=0.9)} | settings
    trainer = Trainer(network, data(), backend=backend, batch_size=BATCH, steps=STEPS, **chosen)
    step = trainer.training_step
    steps: StepRunner = EagerStepRunner(step) if eager else trainer.step_runners.choose(step)
    order = np.random.default_rng(5).permutation(5 * BATCH).reshape(5, BATCH)
    made: list[CompletedStep] = []
    for k in range(STEPS):
        if clip and k in (10, 30):
            trainer.hyperparameters["clip_norm"] = 0.1 if k == 10 else 0.0
        trainer.hyperparameters.factor = 1 / (1 + 0.01 * k)
        end = k % 5 == 4
        steps.submit(k, k / 5, order[k % 5], measure=k in MEASURED, ends_epoch=end)
        made += steps.completed(wait=end)
    made += steps.completed(wait=True)
    results = [(m.result.loss, m.result.data_loss, m.result.accuracy) for m in made]
    return Training(
        np.array(results),
        {name: backend.to_host(array).copy() for name, array in step.arrays.items()},
        [m.snapshot() for m in made if m.snapshot is not None],
        trainer.step_runners.reason,
        isinstance(steps, StepQueue),
    )


def same(found: Training, expected: Training, most: float, what: str) -> float:
    """Return the largest deviation between two trainings, their statistics included."""
    far = deviation(found.losses, expected.losses, most, f"{what}, losses")
    for name, array in expected.arrays.items():
        ours = found.arrays[name]
        if "highest" in name:  # of which only matters whether a unit has risen
            ours, array = ours > 0, array > 0
        far = max(far, deviation(ours, array, most, f"{what}, {name}"))
    assert [s.step for s in found.snapshots] == [s.step for s in expected.snapshots], what
    for ours_at, theirs in zip(found.snapshots, expected.snapshots, strict=True):
        far = max(far, same_snapshot(ours_at, theirs, most, f"{what}, step {theirs.step}"))
    return far


def same_snapshot(found: Snapshot, expected: Snapshot, most: float, what: str) -> float:
    """Return the largest deviation of the moments; histograms have checks of their own."""
    far = 0.0
    for at, tensor in enumerate(TENSORS):
        for layer in range(len(expected.statistics)):
            ours, theirs = found.statistics[layer, at], expected.statistics[layer, at]
            # A mean of almost 0 is known as well as the values that it is a mean of.
            norm = max(1e-30, float(np.nanmax(np.abs(theirs[1:5]), initial=0)))
            pair = ours[1:5] / norm, theirs[1:5] / norm
            far = max(far, deviation(*pair, most, f"{what}, {tensor}"))
            assert np.abs(ours[5:] - theirs[5:]).max() <= 0.1, f"{what}, shares of {tensor}"
    for name in ("update_ratio", "asymmetry", "dead_fraction"):
        pair = getattr(found, name), getattr(expected, name)
        far = max(far, deviation(*pair, most, f"{what}, {name}"))
    return far


def check_statistics(backend: Backend, repeats: int) -> float:
    """All statistics of a step against the probes', of the same arrays."""
    network = mlp([300], 5, activation=Tanh(), initializer=He())
    bound = BoundNetwork.of(network, (64, 250), backend, generator=np.random.default_rng(0))
    scores, batch = backend.empty((64, 5)), backend.empty((64, 250))
    probes = Probes(bound, scores, lambda: batch)
    arrays = [array for each in bound.bound for array in (each.output, each.input_gradient)]
    every = [*(scores, batch), *arrays, bound.store.values, bound.store.gradients]
    for seed, array in enumerate(every):
        array[...] = backend.to_device(random(*array.shape, seed=seed), backend.dtype)
    change = backend.to_device(0.01 * random(bound.store.values.size), backend.dtype)
    before = bound.store.values.copy()
    probes.start()
    bound.store.values[...] += change
    expected = probes.finish(7, 0.5)
    bound.store.values[...] = before
    launcher = launcher_of(backend)
    statistics = Statistics(probes, bound, launcher)
    launcher.run([statistics.before_update()])
    bound.store.values[...] += change
    plan = list(statistics.after_update())
    far, first = 0.0, None
    for _ in range(repeats):
        launcher.run(plan)
        words = backend.to_host(statistics.words).copy()
        first = words if first is None else first
        np.testing.assert_array_equal(words.view(np.int64), first.view(np.int64), "from run to run")
    found = statistics.snapshot(words, 7, 0.5, np.zeros(2))
    np.testing.assert_array_equal(found.ranges, expected.ranges, "ranges")
    totals = found.histograms.sum(-1), expected.histograms.sum(-1)
    np.testing.assert_array_equal(*totals, "counted")
    moved = np.abs(found.histograms - expected.histograms).sum(axis=-1)
    assert moved.max() <= 6, f"{moved.max()} values are in another bin"  # on the edge of two
    far = same_snapshot(found, replace(expected, dead_fraction=found.dead_fraction), 1e-5, "all")
    return max(far, deviation(found.one_signed, expected.one_signed, 1e-9, "one_signed"))


ROWS: Final[dict[str, list[Layer]]] = {
    "linear": [Linear(9, He(), None), Nonlinearity(ReLU())],
    "batch_norm": [Linear(9, He()), BatchNorm(), Nonlinearity(ReLU())],
    "layer_norm": [Linear(9, He()), LayerNorm(), Nonlinearity(ReLU())],
    "dropout": [Linear(9, He()), Nonlinearity(ReLU()), Dropout(0.3)],
    "maxout": [Linear(18, He()), Maxout()],
    "prelu": [Linear(9, He()), PReLU()],
    "residual": [Linear(9, He()), Residual((Linear(9, He()), Nonlinearity(ReLU())))],
    "nonlinearity": [Linear(9, He()), Nonlinearity(GELU(approximate="tanh"))],
    "conv2d": [
        *(Image(1, 2, 3), Conv2d(4, 3, padding=1), Nonlinearity(Tanh())),
        *(MaxPool2d(2, stride=1), AvgPool2d(1), Flatten()),
    ],
}
EAGER: Final = ("dropout",)  # whose masks the host draws
LIMITS: Final[dict[str, Optimizer]] = {
    "penalties": SGD(0.05, weight_decay=0.1, l1=0.01),
    "clip_value": SGD(0.05, clip_value=0.01),
    "all limits": SGD(0.05, clip_norm=0.1, clip_value=0.01, max_norm=0.8),
    "adam with penalty": Adam(0.01, weight_decay=0.1, max_norm=0.8),
    "adamw that decays": AdamW(0.01, weight_decay=0.3),
    "rmsprop with momentum": RMSProp(0.003, momentum=0.5),
}


def training_checks(backend: Backend) -> Iterator[Check]:
    """Yield trainings by graph, eagerly and on NumPy, of each member of the registries."""
    most = DRIFT[backend.dtype.name]

    def check(name: str, network: Network, **settings: Any) -> Check:
        def run() -> float:
            expected = train(REFERENCE, network, eager=True, **settings)
            eagerly = train(backend, network, eager=True, **settings)
            far = same(eagerly, expected, most, f"{name}, eager")
            ours = train(backend, network, **settings)
            assert ours.queued is (name not in EAGER), f"{name}: {ours.reason}"
            return max(far, same(ours, expected, most, name))

        return Check(f"training: {name}", run)

    for name, activation in activations.items():
        yield check(name, plain(activation()))
    for name, loss in losses.items():
        yield check(name, plain(Tanh()), loss=loss(), optimizer=SGD(0.01))
    for name, optimizer in optimizers.items():
        yield check(name, plain(Tanh()), optimizer=optimizer(0.003))
    for name, row in ROWS.items():
        yield check(name, Network([*row, Linear(CLASSES, He())]))
    for name, chosen in LIMITS.items():
        yield check(name, plain(Tanh()), optimizer=chosen)
    yield check("clip_norm 0 → 0.1 → 0", plain(Tanh(), batch_norm=True), clip=True)


# Guards


def check_repeatable(backend: Backend) -> float:
    """Two trainings are the same to the last bit."""
    one, other = (train(backend, plain(batch_norm=True)) for _ in range(2))
    np.testing.assert_array_equal(one.losses, other.losses, "losses")
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], name)
    return 0.0


def check_guard(backend: Backend, bad: float) -> float:
    """A parameter that is not finite: the loss of eager steps, and nothing changes any more."""
    launcher_of(backend)
    found = []
    for place in (backend, REFERENCE):
        network = plain(Tanh(), batch_norm=True)
        optimizer = Adam(0.01, max_norm=0.8, clip_norm=1.0, weight_decay=0.1)
        trainer = Trainer(
            *(network, data()), backend=place, batch_size=BATCH, steps=STEPS, optimizer=optimizer
        )
        step = trainer.training_step
        step.network.store.value_views[-1]["weight"][0, 0] = bad
        steps: StepRunner = trainer.step_runners.choose(step)
        before = {k: place.to_host(v).copy() for k, v in step.arrays.items() if k != "running"}
        for k in range(1 if place is REFERENCE else 5):
            with np.errstate(all="ignore"):
                steps.submit(k, 0.0, np.arange(BATCH), measure=False, ends_epoch=False)
        made = list(steps.completed(wait=True))
        found.append((made[0].result.loss, place.to_host(step.network.store.state).copy()))
        if place is backend:
            assert isinstance(steps, StepQueue)
            with np.errstate(all="ignore"):
                steps.roll_back(made[0])
        for name, array in before.items():
            now = place.to_host(step.arrays[name])
            if name == "optimizer.step":
                continue
            np.testing.assert_array_equal(now, array, f"{name} has changed")
    (ours, state), (theirs, expected) = found
    np.testing.assert_array_equal(ours, theirs, "the loss")
    return deviation(state, expected, DRIFT[backend.dtype.name], "running averages")


def checks(backend: Backend, repeats: int = REPEATS) -> Iterator[Check]:
    """Yield all checks, simple things first: what is wrong is found where it is.

    Kernels run `repeats` times: on a GPU a race shows as a difference.
    """
    yield Check("products", partial(check_products, backend))
    yield from kernel_checks(backend, repeats)
    yield Check("statistics", partial(check_statistics, backend, repeats))
    yield from training_checks(backend)
    yield Check("repeatable", partial(check_repeatable, backend))
    for bad in (np.inf, -np.inf, np.nan):
        yield Check(f"guard: a parameter is {bad}", partial(check_guard, backend, bad))
