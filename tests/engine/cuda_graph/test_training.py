"""Whole trainings on the emulated device: the same numbers as the engine's own, a little later."""

from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine.activations import Activation, ReLU, Tanh, activations
from engine.activations.smooth import GELU
from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Backend
from engine.commands import Command
from engine.cuda_graph import step_plan
from engine.cuda_graph.plan import describe
from engine.cuda_graph.step_plan import Switches
from engine.cuda_graph.step_queue import DEPTH, StepQueue
from engine.errors import BackendError
from engine.initializers import He
from engine.layers.base import Layer
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
from engine.losses import Loss, losses
from engine.network import Network, mlp
from engine.optimization.optimizers import SGD, Adam, AdamW, Optimizer, optimizers
from engine.statistics.frames import TENSORS, Frame, Snapshot
from engine.training.trainer import Trainer
from tests.engine.cuda_graph.emulator import EmulatedBackend, items
from tests.engine.training.test_trainer import blobs

EXACT = 1e-9
MEASURED = [0, 5, 11]


def net(activation: Activation | None = None, **settings: Any) -> Network:
    return mlp([9, 40], 3, activation=activation or ReLU(), initializer=He(), **settings)


def train(backend: Any, network: Network, **settings: Any) -> tuple[Trainer, list[Frame]]:
    chosen: dict[str, Any] = {
        "optimizer": SGD(0.05, momentum=0.9),
        "batch_size": 20,
        "steps": 12,
    } | settings
    interval = chosen.pop("interval", 3600.0)
    commands: SimpleQueue[Command] = SimpleQueue()
    for command in chosen.pop("commands", ()):
        commands.put(command)
    trainer = Trainer(network, blobs(), backend=backend, **chosen)
    return trainer, list(trainer.frames(commands, interval=interval))


def losses_of(frames: list[Frame]) -> np.ndarray[Any, Any]:
    series = [[f.loss, f.data_loss, f.accuracy, f.learning_rate] for f in frames]
    return np.concatenate(series, axis=1)


def both(
    network: Network, backend: Backend | None = None, **settings: Any
) -> tuple[Trainer, Trainer]:
    """Train on a device and on the host; compare all that is reported, and what training leaves."""
    settings["snapshot_at"] = MEASURED
    ours, frames = train(backend or EmulatedBackend(), network, **settings)
    eager, expected = train(make_backend("numpy", "float64"), network, **settings)
    assert isinstance(ours.step_runners.current, StepQueue), ours.step_runners.reason
    np.testing.assert_allclose(losses_of(frames), losses_of(expected), rtol=EXACT, atol=EXACT)
    assert [f.state for f in frames][-1] == expected[-1].state
    for name, array in eager.training_step.arrays.items():
        kept = ours.backend.to_host(ours.training_step.arrays[name])
        if "highest" in name:  # at which the host looks no more when all units have risen
            kept, array = kept > 0, array > 0
        np.testing.assert_allclose(kept, array, rtol=1e-7, atol=EXACT, err_msg=name)
    for found, wanted in zip(snapshots(frames), snapshots(expected), strict=True):
        assert found.step == wanted.step
        same(found, wanted)
    return ours, eager


def snapshots(frames: list[Frame]) -> list[Snapshot]:
    return [frame.snapshot for frame in frames if frame.snapshot is not None]


def same(found: Snapshot, expected: Snapshot) -> None:
    assert found.epoch == expected.epoch
    close: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-12}
    for at, tensor in enumerate(TENSORS):
        np.testing.assert_allclose(
            found.statistics[:, at], expected.statistics[:, at], **close, err_msg=tensor
        )
        np.testing.assert_array_equal(found.ranges[:, at], expected.ranges[:, at], tensor)
        moved = np.abs(found.histograms[:, at] - expected.histograms[:, at]).sum(axis=-1)
        assert (moved <= 2).all(), f"{tensor}: {moved}"  # a value on the edge of two bins
    for name in ("dead_fraction", "update_ratio", "asymmetry", "one_signed"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), **close, err_msg=name
        )


@pytest.mark.parametrize("name", list(dict(activations.items())))
def test_every_activation(name: str) -> None:
    both(net(dict(activations.items())[name]()))


@pytest.mark.parametrize("name", list(dict(losses.items())))
def test_every_loss(name: str) -> None:
    loss: type[Loss] = dict(losses.items())[name]
    both(net(), loss=loss(), optimizer=SGD(0.01))


@pytest.mark.parametrize("name", list(dict(optimizers.items())))
def test_every_optimizer(name: str) -> None:
    optimizer: type[Optimizer] = dict(optimizers.items())[name]
    both(net(), optimizer=optimizer(0.003))


def test_frozen_layers_stay_as_they_are_in_steps_that_are_made_eagerly() -> None:
    freeze = Command("freeze", layer=2)
    settings: dict[str, Any] = {"optimizer": SGD(0.05, momentum=0.9, weight_decay=0.1)}
    ours, _ = train(EmulatedBackend(), net(), commands=[freeze], **settings)
    assert ours.step_runners.reason == "layers are frozen"
    fresh = Trainer(net(), blobs(), backend=EmulatedBackend(), batch_size=20, steps=12)
    layers = [trainer.network.store.value_views for trainer in (ours, fresh)]
    for at, (found, first) in enumerate(zip(*layers, strict=True)):
        for name, values in found.items():
            assert np.array_equal(values, first[name]) is (at == 2), (at, name)


LIMITS = [
    SGD(0.05, weight_decay=0.1, l1=0.01),
    SGD(0.05, clip_value=0.01),
    SGD(0.05, clip_norm=0.1),
    SGD(0.05, clip_norm=0.1, clip_value=0.01, max_norm=0.8),
    Adam(0.01, weight_decay=0.1, max_norm=0.8),
    AdamW(0.01, weight_decay=0.3),
]


@pytest.mark.parametrize("optimizer", LIMITS, ids=str)
def test_penalties_and_limits(optimizer: Optimizer) -> None:
    both(net(), optimizer=optimizer)


def test_a_layer_without_a_kernel_is_captured_as_an_eager_call() -> None:
    plan = plan_of(both(Network([*ROWS["layer_norm"], Linear(3, He())]))[0])
    assert list(items(plan)).count("EagerCall") == 2  # forwards and backwards


def plan_of(trainer: Trainer) -> list[Any]:
    queue = trainer.step_runners.current
    assert isinstance(queue, StepQueue)
    return queue.plan(Switches(False, False, False), measure=False)


def test_batch_norm_has_kernels_but_over_the_pixels_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = ["batch_norm_forward", "batch_norm_backward"]
    plan = list(items(plan_of(both(net(batch_norm=True))[0])))
    assert [plan.count(each) for each in ("EagerCall", *kernels)] == [0, 2, 2]
    monkeypatch.setattr(step_plan, "MOST_ROWS", 19)
    plan = list(items(plan_of(both(net(batch_norm=True))[0])))
    assert [plan.count(each) for each in kernels] == [0, 0]
    assert plan.count("EagerCall") == 5  # both, there and back, and a copy of their averages


ROWS: dict[str, list[Layer]] = {
    "layer_norm": [Linear(9, He()), LayerNorm(), Nonlinearity(ReLU())],
    "maxout": [Linear(18, He()), Maxout()],
    "prelu": [Linear(9, He()), PReLU()],
    "residual": [Linear(9, He()), Residual((Linear(9, He()), Nonlinearity(ReLU())))],
    "gelu by tanh": [Linear(9, He()), Nonlinearity(GELU(approximate="tanh"))],
    "no bias": [Linear(9, He(), None), Nonlinearity(ReLU())],
    "images": [
        *(Image(1, 2, 3), Conv2d(4, 3, padding=1), Nonlinearity(ReLU())),
        *(MaxPool2d(2, stride=1), AvgPool2d(1), Flatten()),
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_layers_with_and_without_kernels(name: str) -> None:
    both(Network([*ROWS[name], Linear(3, He())]))


def test_hyper_parameters_are_read_at_every_step() -> None:
    commands = [Command("set", "weight_decay", 0.2), Command("set", "clip_norm", 0.1)]
    ours, _ = both(net(), commands=commands)
    assert ours.hyperparameters["weight_decay"] == 0.2


ON_A_GPU: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": AdamW(0.01, weight_decay=0.3)},
    "limits": {"optimizer": SGD(0.05, weight_decay=0.1, clip_norm=0.1, max_norm=0.8)},
}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ON_A_GPU)
def test_on_a_gpu(name: str, batch_norm: bool) -> None:
    try:
        backend = make_backend("cupy", "float64")
    except BackendError as error:
        pytest.skip(str(error))
    both(net(batch_norm=batch_norm), backend, **ON_A_GPU[name])


def test_float32_is_as_near_as_rounding_allows() -> None:
    _, frames = train(EmulatedBackend("float32"), net(Tanh()))
    _, expected = train(make_backend("numpy", "float32"), net(Tanh()))
    np.testing.assert_allclose(losses_of(frames)[0], losses_of(expected)[0], rtol=1e-4)


@pytest.mark.parametrize("lag", [0, 3, 1000])
def test_results_that_arrive_later_are_reported_in_order(lag: int) -> None:
    backend = EmulatedBackend(lag=lag)
    settings: dict[str, Any] = {"batch_size": 1, "steps": 2 * DEPTH}  # all within one epoch
    _, frames = train(backend, net(), interval=0, snapshot_at=[20], **settings)
    assert sum(len(f.loss) for f in frames) == 2 * DEPTH
    assert [f.first_step for f in frames] == [0, *(f.next_step for f in frames[:-1])]
    steps = [each.step for each in snapshots(frames)]
    assert steps == sorted(set(steps))
    assert {0, 20, 2 * DEPTH - 1} <= set(steps)  # wanted in any case, however many are on their way


def test_dropout_is_made_operation_by_operation_and_says_so() -> None:
    layers = [*net().layers]
    layers.insert(2, Dropout(0.5))
    ours, frames = train(EmulatedBackend(), Network(layers))
    assert "dropout" in ours.step_runners.reason
    assert [e.detail["reason"] for f in frames for e in f.events if e.kind == "eager"] == [
        ours.step_runners.reason
    ]
    assert frames[-1].state == "finished"


@pytest.mark.parametrize(
    ("optimizer", "order", "batch_norm"),
    [
        *((SGD(1e200), 0, False), (SGD(1e200), 1, False), (Adam(1e200), 0, False)),
        *((Adam(1e200), 1, False), (SGD(1e200, momentum=0.9), 0, True)),
        (SGD(1e200, momentum=0.9), 1, True),
    ],
)
def test_divergence_stops_at_the_step_that_diverged(
    optimizer: Optimizer, order: int, batch_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if order:  # then as it is written
        monkeypatch.setattr(step_plan, "MOST_ROWS", 19)
    settings: dict[str, Any] = {"optimizer": optimizer, "steps": 3 * DEPTH}
    network = net(batch_norm=batch_norm)
    ours, frames = train(EmulatedBackend(order=order, lag=1000), network, **settings)
    eager, expected = train(NumPyBackend("float64"), network, **settings)
    assert frames[-1].state == expected[-1].state == "diverged"
    assert ours.step == eager.step
    (event,) = [e for f in frames for e in f.events]
    (wanted,) = [e for f in expected for e in f.events]
    assert (event.step, event.detail) == (wanted.step, wanted.detail)
    for field in ("min", "max", "nonfinite"):  # of the batch that diverged, and of no other
        ours_of, eagers = (
            snapshots(each)[-1].field("activation", field) for each in (frames, expected)
        )
        np.testing.assert_allclose(ours_of, eagers, rtol=1e-7, err_msg=field)
    for name in (
        *("parameters", "running"),
        *(f"optimizer.{key}" for key in eager.training_step.optimizer.state),
    ):
        found, wanted_array = (each.training_step.arrays[name] for each in (ours, eager))
        np.testing.assert_allclose(found, wanted_array, rtol=1e-7, err_msg=name)


def test_the_plan_reads_like_one() -> None:
    ours, _ = train(EmulatedBackend(), net(), steps=2)
    queue = ours.step_runners.current
    assert isinstance(queue, StepQueue)
    text = describe(queue.plan(Switches(False, False, False), measure=False))
    first = "  1  gather                   20×1 blocks of 256: (100×6) (100) (20) (20×6) (20)"
    assert text.splitlines()[0] == first


def test_without_probes_there_is_nothing_to_measure() -> None:
    both(net(), probes=False)


@pytest.mark.parametrize("at", [0, 7])
def test_commands_act_between_steps_and_what_is_reported_is_current(at: int) -> None:
    """Pause, two single steps, then on to the end; the device is far behind all the time."""
    settings: dict[str, Any] = {"optimizer": SGD(0.05), "batch_size": 20, "steps": 20}
    trainer = Trainer(net(), blobs(), backend=EmulatedBackend(lag=1000), **settings)
    inbox: SimpleQueue[Command] = SimpleQueue()
    seen: list[Frame] = []
    for frame in trainer.frames(inbox, interval=0 if at else 3600):
        seen.append(frame)
        if frame.state == "running" and frame.next_step >= at and inbox.empty() and len(seen) > 1:
            inbox.put(Command("pause"))
        if frame.state == "paused":
            assert frame.next_step == trainer.step
            assert frame.snapshot is not None
            assert frame.snapshot.step == trainer.step - 1
            inbox.put(Command("step" if trainer.step < at + 5 else "stop"))
    assert seen[-1].state == ("stopped" if at else "finished")
    series = losses_of(seen)[0]
    assert len(series) == trainer.step == seen[-1].next_step


def test_a_checkpoint_of_steps_on_their_way_is_carried_on_from() -> None:
    settings: dict[str, Any] = {"optimizer": Adam(0.01), "batch_size": 20, "steps": 30}
    first = Trainer(net(), blobs(), backend=EmulatedBackend(lag=1000), **settings)
    frames = first.frames(interval=0)
    saved = next(first.checkpoint() for _ in frames if first.step > 12)
    assert saved.step == first.step
    seen = sum(len(frame.loss) for frame in frames)
    for backend in (EmulatedBackend(), make_backend("numpy", "float64")):
        second = Trainer(net(), blobs(), backend=backend, **settings)
        second.restore(saved)
        values = [*second.frames()]
        assert sum(len(frame.loss) for frame in values) == 30 - saved.step
        found, wanted = second.network.store.values, first.network.store.values
        np.testing.assert_allclose(found, wanted, rtol=1e-7)
    assert seen >= 30 - saved.step


def test_max_norm_limits_every_weight_inside_a_layer() -> None:
    inside = Residual((Linear(9, He()), Nonlinearity(ReLU()), Linear(6, He())))
    network = Network([inside, Nonlinearity(ReLU()), Linear(3, He())])
    ours, _ = both(network, optimizer=SGD(0.05, max_norm=0.7))
    weights = ours.network.store.weights
    assert [weight.shape for weight in weights] == [(6, 9), (9, 6), (6, 3)]
    assert all((np.linalg.norm(weight, axis=0) < 0.7 + 1e-12).all() for weight in weights)
