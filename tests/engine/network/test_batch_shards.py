"""Shards of a batch: threads side by side compute what one does, or say what went wrong."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from engine.activations import ReLU, Tanh
from engine.backends import make_backend
from engine.backends.threads import Barrier
from engine.initializers import He
from engine.layers.base import Bound, Layer, Scope, Shape, start_row
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
from engine.losses import SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network, mlp
from engine.network import batch_shards as shards
from engine.optimization.optimizers import SGD
from engine.training.trainer import Trainer
from tests.engine.conftest import Array
from tests.engine.training.test_trainer import blobs

BATCH, FEATURES, CLASSES = 37, 2 * 6 * 6, 3  # a batch that no number of threads divides
HIDDEN = [Linear(8, He(), 0.1), BatchNorm(), Nonlinearity(ReLU())]
NETWORKS: dict[str, Sequence[Layer]] = {
    "plain": [Linear(9, He(), 0.1), Nonlinearity(Tanh()), Linear(CLASSES)],
    "no bias": [Linear(9, He(), None), Nonlinearity(ReLU()), Linear(CLASSES)],
    "before the first weights": [BatchNorm(), PReLU(), *HIDDEN, Linear(CLASSES)],
    "batch norm": [*HIDDEN, *HIDDEN, Linear(CLASSES)],
    "layer norm": [Linear(9, He()), LayerNorm(), Nonlinearity(ReLU()), Linear(CLASSES)],
    "prelu": [Linear(9, He()), PReLU(per_unit=True), Linear(9), PReLU(), Linear(CLASSES)],
    "maxout": [Linear(18, He()), Maxout(), Linear(CLASSES)],
    "residual": [Linear(8, He()), Residual(layers=[*HIDDEN, Linear(8)]), Linear(CLASSES)],
    "images": [
        Image(2, 6, 6), Conv2d(4, padding=1), BatchNorm(), Nonlinearity(ReLU()), MaxPool2d(),
        Conv2d(5, stride=2, padding=1), AvgPool2d(), Flatten(), Linear(CLASSES),
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 2)
    monkeypatch.setattr(shards, "ELEMENTS", 1)


def bound(network: Network, threads: int, batch: int = BATCH) -> BoundNetwork:
    backend = make_backend("numpy", "float64", threads)
    return BoundNetwork.of(network, (batch, FEATURES), backend, generator=np.random.default_rng(0))


def batches() -> Iterator[tuple[Array, Array]]:
    generator = np.random.default_rng(1)
    for _ in range(2):
        x = generator.normal(2.0, 3.0, (BATCH, FEATURES))
        yield x, generator.integers(0, CLASSES, BATCH)


def gone_through(network: BoundNetwork) -> list[Array]:
    """Train two steps by hand; return all that there is to compare."""
    loss = SoftmaxCrossEntropy().bind((CLASSES,), BATCH, network.backend)
    found: list[Array] = []
    for x, y in batches():
        scores = network.forward(x, True)
        found += [scores.copy(), np.asarray(loss.forward(scores, y))]
        network.backward(loss.backward())
        found.append(network.store.gradients.copy())
        found += [each.output.copy() for each in network.bound]
        found += [each.input_gradient.copy() for each in network.bound]
        network.store.values[...] -= 0.1 * network.store.gradients
    return [*found, network.store.state.copy(), network.forward(x, False).copy()]


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_is_as_in_one_thread(name: str, threads: int) -> None:
    network = Network(NETWORKS[name])
    alone, shared = bound(network, 1), bound(network, threads)
    assert alone.shards is None
    assert shared.shards is not None
    for one, other in zip(gone_through(alone), gone_through(shared), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


def test_it_is_the_same_to_the_last_bit_each_time() -> None:
    network = Network(NETWORKS["batch norm"])
    found = [gone_through(bound(network, 3)) for _ in range(3)]
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


def test_layers_start_from_the_whole_batch() -> None:
    row = [replace(each, start="identity") if isinstance(each, BatchNorm) else each
           for each in NETWORKS["batch norm"]]  # fmt: skip
    found = []
    for threads in (1, 2):
        network = bound(Network(row), threads)
        x, _ = next(batches())
        start_row(network.bound, x)
        found.append(network.forward(x, True).copy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_a_small_batch_and_what_draws_masks_stay_in_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = Network(NETWORKS["plain"])
    assert bound(plain, 2, batch=3).shards is None
    assert bound(plain, 2, batch=4).shards is not None
    monkeypatch.setattr(shards, "ELEMENTS", 4 * (2 * 9 + 3))  # of the outputs of all layers
    assert bound(plain, 2, batch=4).shards is not None
    monkeypatch.setattr(shards, "ELEMENTS", 4 * (2 * 9 + 3) + 1)
    assert bound(plain, 2, batch=4).shards is None
    masked = Residual(layers=[Linear(8), Dropout()])
    assert bound(Network([Linear(8), Dropout(), Linear(CLASSES)]), 2).shards is None
    assert bound(Network([Linear(8), masked, Linear(CLASSES)]), 2).shards is None
    monkeypatch.setattr(shards, "ELEMENTS", 1)
    monkeypatch.setattr(shards, "ROWS", 30)  # an image of 6 × 6 has more
    assert bound(plain, 2, batch=37).shards is None
    assert bound(Network(NETWORKS["images"]), 2, batch=2).shards is not None


def test_whole_trainings_agree_and_show_the_same() -> None:
    found = []
    for threads in (1, 2):
        network = mlp([12, 12], 3, activation=ReLU(), initializer=He(), batch_norm=True)
        trainer = Trainer(
            network, blobs(), optimizer=SGD(0.05, momentum=0.9), steps=12, batch_size=20,
            backend=make_backend("numpy", "float64", threads),
        )  # fmt: skip
        frames = list(trainer.frames(interval=0))
        assert (trainer.training_step.network.shards is None) == (threads == 1)
        snapshot = next(frame.snapshot for frame in frames if frame.snapshot is not None)
        found.append((np.concatenate([frame.loss for frame in frames]), snapshot.statistics))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Moody(Layer):
    """Hands on what it gets, but for one thread while it is in a mood."""

    kind: ClassVar = "moody"
    mood: tuple[threading.Event, int]

    def bind(self, x: Shape, scope: Scope) -> Bound:
        y, dx = scope.output(x), scope.input_gradient(x)
        event, rank = self.mood
        total = scope.total("nothing", shape=(1,))

        def forward(x: Array, training: bool) -> Array:
            if event.is_set() and scope.shard is not None and scope.shard.rank == rank:
                raise MemoryError("no more of it")
            total(np.zeros(1))
            np.copyto(y, x)
            return np.asarray(y)

        def backward(x: Array, dy: Array) -> Array:
            np.copyto(dx, dy)
            return np.asarray(dx)

        return Bound(forward, backward, y, dx)


@dataclass(frozen=True)
class Shuffled(Layer):
    """Adds 1 and doubles, in two buffers that shards allocate in the opposite order."""

    kind: ClassVar = "shuffled"

    def bind(self, x: Shape, scope: Scope) -> Bound:
        names = ["one", "two"] if scope.shard is None else ["two", "one"]
        buffers = {name: scope.buffer(name, x) for name in names}
        dx, y = scope.input_gradient(x), scope.output(x)

        def forward(x: Array, training: bool) -> Array:
            np.add(x, 1, out=buffers["one"])
            np.multiply(buffers["one"], 2, out=buffers["two"])
            np.copyto(y, buffers["two"])
            return np.asarray(y)

        def backward(x: Array, dy: Array) -> Array:
            np.multiply(dy, buffers["two"], out=dx)
            return np.asarray(dx)

        return Bound(forward, backward, y, dx)


def test_buffers_have_names_and_may_be_allocated_in_any_order() -> None:
    network = Network([Linear(4), Shuffled(), Linear(CLASSES)])
    x, _ = next(batches())
    outputs = []
    for threads in (1, 3):
        bound_network = bound(network, threads)
        scores = bound_network.forward(x, True).copy()
        bound_network.backward(np.ones_like(scores))
        outputs.append((scores, bound_network.bound[1].input_gradient.copy()))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_a_layer_may_not_have_two_buffers_of_one_name() -> None:
    scope = Scope(make_backend("numpy"), 5, {}, {}, {})
    scope.output((3,))
    with pytest.raises(ValueError, match="two buffers 'y'"):
        scope.output((3,))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_error_in_one_thread_ends_them_all_and_is_raised(rank: int) -> None:
    event = threading.Event()
    network = bound(Network([Linear(4), Moody((event, rank)), Linear(CLASSES)]), 3)
    x, _ = next(batches())
    before = network.forward(x, True).copy()
    event.set()
    for _ in range(2):
        with pytest.raises(MemoryError, match="no more of it"):
            network.forward(x, True)
    event.clear()
    np.testing.assert_array_equal(network.forward(x, True), before)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_no_thread_leaves_a_barrier_before_all_have_arrived(size: int) -> None:
    barrier, come = Barrier(size), [0] * size
    late: list[int] = []

    def work(rank: int) -> None:
        for turn in range(1, 50):
            come[rank] = turn
            barrier.wait(rank)
            late.extend(rank for each in come if each < turn)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert late == []
