"""The plan of a step: what is launched, in which order, and that nothing in it waits."""

from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine.activations import ReLU
from engine.backends import make_backend
from engine.commands import Command
from engine.cuda_graph import step_plan
from engine.cuda_graph.plan import (
    EagerCall,
    Item,
    Launch,
    LaunchPlan,
    Product,
    describe,
    product,
)
from engine.cuda_graph.step_plan import Switches
from engine.cuda_graph.step_queue import DEPTH, SNAPSHOTS, StepQueue
from engine.errors import DeviceLostError, NotPlannedError
from engine.initializers import He
from engine.layers.linear import Linear
from engine.network import BoundNetwork, Network, mlp
from engine.optimization.optimizers import SGD, Adam
from engine.training.step_runner import EagerStepRunner
from engine.training.trainer import Trainer
from engine.training.training_step import TrainingStep
from tests.engine.cuda_graph.emulator import EmulatedBackend, Emulator, items
from tests.engine.training.test_trainer import blobs

OFF = Switches(penalty=False, clip_norm=False, max_norm=False)
STEP = [
    "gather",
    *("Product", "relu_forward", "Product", "relu_forward", "Product", "identity_forward"),
    "softmax_cross_entropy",
    *("identity_backward", "Product", "Product", "relu_backward", "Product", "Product"),
    *("relu_backward", "Product", "Join"),
    "highest_outputs",
    "sgd",
]
GENERATOR = np.random.default_rng(0)
MEASURING = ["moments", "histograms", "unit_statistics"]


def trainer(backend: EmulatedBackend | None = None, **settings: Any) -> Trainer:
    network = mlp([9, 40], 3, activation=ReLU(), initializer=He())
    chosen: dict[str, Any] = {"steps": 500, "batch_size": 20} | settings
    return Trainer(network, blobs(), backend=backend or EmulatedBackend(), **chosen)


def queue(backend: EmulatedBackend | None = None, **settings: Any) -> StepQueue:
    found = (made := trainer(backend, **settings)).step_runners.choose(made.training_step)
    assert isinstance(found, StepQueue)
    made.backend.emulator.waits = 0  # type: ignore[attr-defined]
    return found


def test_a_step_is_these_launches() -> None:
    assert list(items(queue().plan(OFF, measure=False))) == STEP


def test_with_statistics_it_is_the_same_and_theirs() -> None:
    measured = list(items(queue().plan(OFF, measure=True)))
    assert measured == [*STEP[:-1], "EagerCall", STEP[-1], *MEASURING]


def test_two_graphs_are_captured_before_the_first_step() -> None:
    backend = EmulatedBackend()
    queue(backend)
    plain, measured = backend.emulator.captures
    assert plain == STEP
    assert [each for each in measured if each not in ("EagerCall", *MEASURING)] == STEP


def test_what_is_switched_on_is_in_the_plan() -> None:
    everything = Switches(penalty=True, clip_norm=True, max_norm=True)
    plan = list(items(queue().plan(everything, measure=False)))
    at = plan.index("highest_outputs")
    assert plan[at - 1 :] == ["penalty", "highest_outputs", "clip_norm", "sgd", *["max_norm"] * 3]
    assert not Switches.of(SGD().hyperparameters(), SGD()).penalty
    assert Switches.of(SGD(weight_decay=0.1).hyperparameters(), SGD()).penalty


def test_no_step_waits_for_the_device() -> None:
    backend = EmulatedBackend(lag=6)
    made = queue(backend)
    rows = np.arange(20)
    for step in range(80):
        made.submit(step, 0.0, rows, measure=step % 7 == 0)
        list(made.completed())
        assert len(made) < DEPTH
    assert backend.emulator.waits == 0


def test_only_a_device_far_behind_is_waited_for() -> None:
    backend = EmulatedBackend(lag=10_000)
    made, rows, arrived = queue(backend), np.arange(20), []
    for step in range(2 * DEPTH):
        made.submit(step, 0.0, rows, measure=False)
        arrived += [each.step for each in made.completed()]
    assert backend.emulator.waits == 2 * DEPTH - (DEPTH - 1)
    arrived += [each.step for each in made.completed(wait=True)]
    assert arrived == list(range(2 * DEPTH))


def test_a_sample_is_dropped_where_all_places_are_taken_and_never_a_step() -> None:
    made, rows = queue(EmulatedBackend(lag=10_000)), np.arange(20)
    asked = [made.submit(step, 0.0, rows, measure=True) for step in range(SNAPSHOTS + 3)]
    assert asked == [True] * SNAPSHOTS + [False] * 3
    arrived = list(made.completed(wait=True))
    assert [each.step for each in arrived] == list(range(SNAPSHOTS + 3))
    assert [each.snapshot is not None for each in arrived] == asked
    assert made.submit(99, 0.0, rows, measure=True)


def test_what_statistics_cost_is_the_device_time_that_they_add() -> None:
    made, rows = queue(), np.arange(20)
    for step in range(8):
        made.submit(step, 0.0, rows, measure=step == 5)
    probing = [each.probing for each in made.completed(wait=True)]
    extra = 1e-6 * (1 + len(MEASURING))
    assert probing == pytest.approx([0, 0, 0, 0, 0, extra, 0, 0])


def test_what_was_asked_for_stays_whatever_becomes_of_the_rows() -> None:
    made, rows = queue(), np.arange(20)
    made.submit(0, 0.0, rows, measure=False)
    rows[:] = 0
    (first,) = made.completed(wait=True)
    np.testing.assert_array_equal(first.rows, np.arange(20))


def test_another_network_gets_another_queue() -> None:
    made = trainer()
    first = made.step_runners.choose(made.training_step)
    assert made.step_runners.choose(made.training_step) is first
    hyper = made.hyperparameters
    wider = BoundNetwork.of(
        mlp([20], 3, activation=ReLU(), initializer=He()),
        (20, 6),
        made.backend,
        generator=np.random.default_rng(0),
        hyper=hyper,
    )
    step = made.training_step
    other = TrainingStep(
        wider, step.loss_kind, step.optimizer_kind, hyper, made.data.train, probes=True
    )
    second = made.step_runners.choose(other)
    assert isinstance(second, StepQueue)
    assert second is not first
    assert second.plan(OFF, measure=False)[1].out.shape == (20, 20)  # type: ignore[union-attr]


def test_warming_up_leaves_no_trace() -> None:
    settings: dict[str, Any] = {"optimizer": Adam(0.1, weight_decay=0.1)}
    made = trainer(**settings)
    before = {name: array.copy() for name, array in made.training_step.arrays.items()}
    made.step_runners.choose(made.training_step)
    for name, array in made.training_step.arrays.items():
        np.testing.assert_array_equal(array, before[name], name)


class Curious(Linear):
    """A layer that looks at a value in the middle of a step."""

    def bind(self, x: Any, scope: Any) -> Any:
        from engine.layers.base import Bound

        bound, xp = super().bind(x, scope), scope.backend.xp

        def forward(x: Any, training: bool) -> Any:
            float(xp.sum(x))
            return bound.forward(x, training)

        return Bound(forward, lambda x, dy: bound.backward(dy), bound.output, bound.input_gradient)


def test_a_layer_that_reads_a_value_cannot_be_captured_and_is_run_eagerly() -> None:
    backend = EmulatedBackend()
    network = Network([Curious(5, He()), Linear(3, He())])
    made = Trainer(network, blobs(), backend=backend, steps=3, batch_size=20)
    frames = list(made.frames(interval=0))
    assert "a value was read" in made.step_runners.reason
    (event,) = [event for frame in frames for event in frame.events]
    assert (event.kind, event.detail) == ("eager", {"reason": made.step_runners.reason})
    assert sum(len(frame.loss) for frame in frames) == 3


class Broken(Emulator):
    """A device that refuses every capture but the first few, or is lost with it."""

    captured, lost = 2, False

    def capture(self, plan: LaunchPlan) -> Any:
        if not self.captured:
            raise MemoryError("out of memory")
        self.captured -= 1
        return super().capture(plan)

    def check(self) -> None:
        if self.lost:
            raise DeviceLostError("illegal address")


def broken(captured: int) -> tuple[EmulatedBackend, Broken]:
    backend = EmulatedBackend()
    emulator = Broken("float64")
    backend.emulator = emulator
    backend.xp._launcher = emulator
    emulator.captured = captured
    return backend, emulator


@pytest.mark.parametrize("captured", [0, 1])
def test_whatever_fails_while_a_queue_is_built_leads_to_eager_steps(captured: int) -> None:
    backend, _ = broken(captured)
    made = trainer(backend, steps=3)
    frames = list(made.frames(interval=0))
    assert made.step_runners.reason == "the step could not be captured: out of memory"
    assert sum(len(frame.loss) for frame in frames) == 3


def test_a_hyper_parameter_that_leaves_0_does_not_end_the_run() -> None:
    def losses(backend: Any) -> tuple[list[float], list[str]]:
        made, inbox = trainer(backend, steps=30), SimpleQueue[Command]()
        values: list[float] = []
        kinds: list[str] = []
        for frame in made.frames(inbox, interval=0):
            if frame.first_step == 0:
                inbox.put(Command("set", "clip_norm", 0.5))
            values += frame.loss
            kinds += [event.kind for event in frame.events]
        return values, kinds

    backend, _ = broken(captured=2)
    ours, kinds = losses(backend)
    expected, _ = losses(make_backend("numpy", "float64"))
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert kinds == ["set", "eager"]


def test_hyper_parameters_that_change_with_steps_on_their_way_lose_none_of_them() -> None:
    backend, _ = broken(captured=2)
    made = trainer(backend)
    queue = made.step_runners.choose(made.training_step)
    queue.submit(0, 0.0, np.arange(20), measure=False, ends_epoch=False)
    made.hyperparameters["clip_norm"] = 1.0
    with pytest.raises(NotPlannedError, match="out of memory"):
        queue.submit(1, 0.0, np.arange(20), measure=False, ends_epoch=False)
    (arrived,) = queue.completed(wait=True)
    assert np.isfinite(arrived.result.loss)
    assert isinstance(made.step_runners.choose(made.training_step), EagerStepRunner)


def test_a_lost_device_ends_the_run_and_says_what_to_do() -> None:
    backend, emulator = broken(captured=0)
    emulator.lost = True
    with pytest.raises(DeviceLostError, match=r"the GPU failed.*resume the run"):
        list(trainer(backend, steps=3).frames())


def test_a_queue_is_captured_again_without_a_trace_in_training() -> None:
    """1 → 0 → 1: the graphs are there already; a trial of new ones changes nothing."""
    backend = EmulatedBackend(lag=1000)
    made = trainer(backend, optimizer=Adam(0.01, weight_decay=0.1))
    queue = made.step_runners.choose(made.training_step)
    queue.submit(0, 0.0, np.arange(20), measure=False, ends_epoch=False)
    before = {name: array.copy() for name, array in made.training_step.arrays.items()}
    made.hyperparameters["max_norm"] = 1.0
    queue.prepare()
    for name, array in made.training_step.arrays.items():
        np.testing.assert_array_equal(array, before[name], name)
    captured = len(backend.emulator.captures)
    made.hyperparameters["max_norm"] = 0.0
    queue.prepare()
    assert len(backend.emulator.captures) == captured == 4


def test_arrays_too_large_for_the_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_plan, "MOST_ELEMENTS", 20 * 40)
    made = trainer()
    made.step_runners.choose(made.training_step)
    assert made.step_runners.reason == "an array has 800 elements or more"


def test_a_gpu_that_does_not_work_is_reported_once() -> None:
    backend = make_backend("numpy", "float64")
    backend.instead = "CuPy finds a GPU but cannot multiply on it"
    made = trainer(backend, steps=3)  # type: ignore[arg-type]
    events = [event for frame in made.frames(interval=0) for event in frame.events]
    assert [(event.kind, event.detail) for event in events] == [
        ("eager", {"reason": backend.instead})
    ]


def test_a_back_end_without_a_device_has_no_queue() -> None:
    made = trainer(make_backend("numpy", "float64"))  # type: ignore[arg-type]
    assert isinstance(made.step_runners.choose(made.training_step), EagerStepRunner)
    assert made.step_runners.reason == ""


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (np.ones((2, 3)), np.ones((3, 4)), np.empty((2, 4))),
        (np.ones((3, 2)).T, np.ones((3, 4)), np.empty((2, 4))),
        (np.ones((2, 3)), np.ones((4, 3)).T, np.empty((2, 4))),
        (np.ones(3), np.ones((3, 4)), np.empty(4)),
        (np.ones((2, 3)), np.ones(3), np.empty(2)),
        (GENERATOR.normal(size=(5, 2, 3)), np.ones((3, 4)), np.empty((5, 2, 4))),
        (GENERATOR.normal(size=(5, 4, 3))[:, 1:3], np.ones((3, 4)), np.empty((5, 2, 4))),
        (
            GENERATOR.normal(size=(5, 3, 2)).transpose(0, 2, 1),
            GENERATOR.normal(size=(5, 3, 4)),
            np.empty((5, 2, 4)),
        ),
    ],
)
def test_products_of_all_that_layers_multiply(a: Any, b: Any, out: Any) -> None:
    item = product(a, b, out)
    left = item.a.swapaxes(-1, -2) if item.transpose_a else item.a
    right = item.b.swapaxes(-1, -2) if item.transpose_b else item.b
    assert item.count == (len(out) if out.ndim == 3 else 1)
    np.matmul(left, right, out=item.out)
    np.testing.assert_array_equal(out, a @ b)


def test_a_product_with_gaps_is_refused() -> None:
    with pytest.raises(match="gaps"):
        product(np.ones((4, 6))[:, ::2], np.ones((3, 2)), np.empty((4, 2)))
    with pytest.raises(match="gaps"):
        product(np.ones((5, 4, 6))[:, :, ::2], np.ones((3, 2)), np.empty((5, 4, 2)))


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (np.ones((5, 2, 3)), np.ones(3), np.empty((5, 2))),
        (np.ones(3), np.ones((5, 3, 4)), np.empty((5, 4))),
        (np.ones((1, 2, 3)), np.ones((5, 3, 4)), np.empty((5, 2, 4))),
        (np.ones((2, 5, 2, 3)), np.ones((3, 4)), np.empty((2, 5, 2, 4))),
        (np.ones((2, 3)), np.ones((3, 4)), np.empty((2, 8))[:, ::2]),
    ],
)
def test_a_product_of_other_shapes_is_refused(a: Any, b: Any, out: Any) -> None:
    with pytest.raises(match="are not supported"):
        product(a, b, out)


def test_a_plan_can_be_read() -> None:
    x = np.empty((2, 3))
    plan: list[Item] = [
        Launch("sgd", (4,), (256,), (x, np.int32(6))),
        Product(x, x, np.empty((3, 3)), transpose_a=True),
        EagerCall("batch_norm, layer 2, forward", lambda: None),
    ]
    assert describe(plan).splitlines() == [
        "  1  sgd                      4 blocks of 256: (2×3)",
        "  2  product                  (2×3)ᵀ · (2×3) → (3×3)",
        "  3  eager call               batch_norm, layer 2, forward",
    ]
