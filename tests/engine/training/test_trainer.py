"""The loop: frames, commands between steps, epochs, divergence, and what it must not do."""

import tracemalloc
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from engine.activations import ReLU, Tanh
from engine.backends import make_backend
from engine.commands import Command
from engine.data.dataset import Dataset, Examples
from engine.errors import ConfigError
from engine.initializers import He
from engine.network import Network, mlp
from engine.optimization.optimizers import SGD
from engine.statistics.frames import FIELDS, Event, Frame
from engine.training.trainer import Trainer
from tests.engine.variants import HIDDEN, LOSSES, OPTIMIZERS


def blobs(samples: int = 120, features: int = 6, classes: int = 3) -> Dataset:
    generator = np.random.default_rng(0)
    y = np.arange(samples) % classes
    centres = generator.normal(0, 3, (classes, features))
    x = centres[y] + generator.normal(size=(samples, features))
    names = tuple(str(c) for c in range(classes))
    train, held = slice(0, samples - 20), slice(samples - 20, None)
    return Dataset("blobs", names, Examples(x[train], y[train]), Examples(x[held], y[held]))


def refusal(trainer: Trainer, command: Command) -> str:
    """Apply a command between two steps, as `frames` does; return why it was refused, or ""."""
    trainer._apply(command)
    event = trainer._next_frame.events[-1]
    return str(event.detail["reason"]) if event.kind == "refused" else ""


def network(batch_norm: bool = False) -> Network:
    return mlp([8, 8], 3, activation=ReLU(), initializer=He(), batch_norm=batch_norm)


def make(data: Dataset, **settings: object) -> Trainer:
    chosen = {"optimizer": SGD(0.05, momentum=0.9), "batch_size": 20, "steps": 30} | settings
    backend = make_backend("numpy", "float64")
    return Trainer(network(bool(chosen.pop("batch_norm", False))), data, backend=backend, **chosen)  # type: ignore[arg-type]


def trained(data: Dataset, *, learning_rate: float, steps: int) -> list[Frame]:
    trainer = make(data, optimizer=SGD(learning_rate), steps=steps)
    return list(trainer.frames(interval=0))


def losses(frames: list[Frame]) -> list[float]:
    return [float(value) for frame in frames for value in frame.loss]


def test_it_learns_and_reports_every_step_once() -> None:
    frames = trained(blobs(), learning_rate=0.1, steps=60)
    values = losses(frames)
    assert len(values) == 60
    assert values[-1] < values[0] / 3
    assert [f.first_step for f in frames] == [0, *(f.next_step for f in frames[:-1])]
    assert frames[-1].state == "finished"
    assert frames[-1].epoch == pytest.approx(60 / 5)


def test_validation_comes_at_the_start_and_after_every_epoch() -> None:
    frames = trained(blobs(), learning_rate=0.1, steps=12)
    assert [v.step for f in frames for v in f.validations] == [0, 5, 10]


def test_the_first_snapshot_is_of_the_first_batch_before_the_first_update() -> None:
    trainer = make(blobs())
    weight = trainer.network.store.value_views[0]["weight"].copy()
    first = next(frame.snapshot for frame in trainer.frames(interval=0) if frame.snapshot)
    assert first.step == 0
    assert first.field("weight", "std")[0] == pytest.approx(weight.std(), rel=1e-12)
    assert first.field("weight", "count")[0] == weight.size


def test_the_last_step_has_a_snapshot_even_where_none_is_due() -> None:
    frames = list(make(blobs(), snapshot_at=[7]).frames(interval=3600))
    steps = [frame.snapshot.step for frame in frames if frame.snapshot]
    assert steps[0] == 0
    assert steps[-1] == 29


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_are_bit_equal_with_probes_on_and_off(batch_norm: bool) -> None:
    ends = []
    for probes in (True, False):
        trainer = make(blobs(), probes=probes, batch_norm=batch_norm)
        for _ in trainer.frames(interval=0):
            pass
        ends.append((trainer.network.store.values.copy(), trainer.network.store.state.copy()))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


def test_a_seed_determines_the_run() -> None:
    first, again, other = (losses(list(make(blobs(), seed=s).frames())) for s in (3, 3, 4))
    assert first == again
    assert first != other


def members(**varied: list[Any]) -> list[dict[str, Any]]:
    """Return settings for a trainer in which one family after the other shows all its members."""
    return [{family: member} for family, chosen in varied.items() for member in chosen]


@pytest.mark.parametrize(
    "settings", members(activation=HIDDEN, loss=LOSSES, optimizer=OPTIMIZERS), ids=repr
)
def test_a_step_allocates_no_arrays(settings: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {"activation": Tanh(), "optimizer": SGD(0.01, momentum=0.9)} | settings
    activation = chosen.pop("activation")
    trainer = Trainer(
        mlp([256, 256], 3, activation=activation, initializer=He(), batch_norm=True),
        blobs(620, 64),
        batch_size=200,
        steps=50,
        **chosen,
    )
    for key in ("weight_decay", "l1", "max_norm", "clip_norm", "clip_value"):
        trainer.hyperparameters[key] = 0.1
    step = trainer.training_step
    rows = np.arange(200)

    def once() -> None:
        trainer.hyperparameters.factor = trainer.schedule.factor(3)
        step.take(rows)
        step.gradients()
        step.probes.dead_units.update()  # type: ignore[union-attr]
        step.update()

    once()
    buffer = np.setbufsize(16)  # of the ufuncs themselves, which broadcast through 32 kB
    tracemalloc.start()
    try:
        for _ in range(3):
            once()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        once()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        np.setbufsize(buffer)
    smallest = 200 * 4  # bytes of the smallest array of a batch: one float32 an example
    assert peak - before < 4 * smallest  # NumPy's views and scalars; an activation has 200 kB


def collect(
    trainer: Trainer, inbox: "SimpleQueue[Command]", script: dict[int, list[Command]]
) -> tuple[list[Frame], list[Event]]:
    """Run with a frame a step; put the commands of `script` when that many steps are made."""
    frames: list[Frame] = []
    events: list[Event] = []
    for frame in trainer.frames(inbox, interval=0):
        frames.append(frame)
        events += frame.events
        for command in script.pop(frame.next_step, []):
            inbox.put(command)
    return frames, events


def test_commands_act_between_steps_and_are_recorded_with_their_step() -> None:
    trainer = make(blobs(), optimizer=SGD(0.1), steps=10)
    script = {
        3: [Command("set", "learning_rate", 0.02)],
        6: [Command("scale", "learning_rate", 10)],
    }
    frames, events = collect(trainer, SimpleQueue(), script)
    rates = [float(rate) for frame in frames for rate in frame.learning_rate]
    assert rates == pytest.approx([0.1] * 3 + [0.02] * 3 + [0.2] * 4)
    assert [(e.step, e.kind) for e in events] == [(3, "set"), (6, "set")]
    assert events[0].detail == {"key": "learning_rate", "value": 0.02, "previous": 0.1}
    assert 3 in [frame.snapshot.step for frame in frames if frame.snapshot]


def test_pause_waits_step_makes_one_and_resume_continues() -> None:
    trainer = make(blobs(), steps=10)
    script = {2: [Command("pause")], 3: [Command("step")], 4: [Command("resume")]}
    frames, events = collect(trainer, SimpleQueue(), script)
    assert [(e.step, e.kind) for e in events] == [(2, "pause"), (3, "step"), (4, "resume")]
    paused = [f for f in frames if f.state == "paused"]
    assert [f.next_step for f in paused] == [3, 4]
    assert [f.snapshot.step for f in paused if f.snapshot] == [2, 3]  # what is seen is of now
    assert (frames[-1].next_step, frames[-1].state) == (10, "finished")


def test_stop_ends_the_run_with_what_was_done() -> None:
    frames, events = collect(make(blobs()), SimpleQueue(), {4: [Command("stop")]})
    assert frames[-1].state == "stopped"
    assert frames[-1].next_step == 4
    assert events[-1].kind == "stop"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (Command("set", "learning_rate", -1), "negative"),
        (Command("set", "learning_rate", float("nan")), "finite"),
        (Command("set", "momentum", 1.0), "[0, 1)"),
        (Command("scale", "learning_rate", 1e308), "finite"),
        (Command("set", "learning_rat", 1), "did you mean 'learning_rate'"),
    ],
)
def test_an_invalid_command_is_refused_with_the_reason(command: Command, word: str) -> None:
    trainer = make(blobs(), optimizer=SGD(100.0))
    assert word in refusal(trainer, command)
    assert not refusal(trainer, Command("scale", "learning_rate", 1.25))


def test_divergence_ends_the_run_and_names_the_first_bad_tensor() -> None:
    frames = trained(blobs(), learning_rate=1e200, steps=20)
    assert frames[-1].state == "diverged"
    assert not np.isfinite(losses(frames)[-1])
    assert np.isfinite(losses(frames)[:-1]).all()
    event = frames[-1].events[-1]
    assert event.kind == "diverged"
    assert event.detail["tensor"] in ("pre_activation", "activation", "weight")
    last = frames[-1].snapshot
    assert last is not None
    assert np.nansum(last.statistics[..., FIELDS.index("nonfinite")]) > 0
    assert np.isnan(last.update_ratio).all()  # no update was made: it is not "tiny"


def test_dead_units_at_the_end_are_those_of_the_last_epoch() -> None:
    trainer = make(blobs(), steps=5, optimizer=SGD(0.0))
    bias = trainer.network.store.value_views[0]["bias"]
    snapshots = []
    for frame in trainer.frames(interval=0):
        bias[:4] = -1e6  # as if a large step had knocked these units off the data
        if frame.snapshot:
            snapshots.append(frame.snapshot)
    assert snapshots[0].dead_fraction[0] == 0
    assert snapshots[-1].step == 4
    assert snapshots[-1].dead_fraction[0] == 0  # they were alive at the first step of this epoch
    trainer = make(blobs(), steps=10, optimizer=SGD(0.0))
    bias = trainer.network.store.value_views[0]["bias"]
    last = snapshots[0]
    for frame in trainer.frames(interval=0):
        if frame.next_step == 5:
            bias[:4] = -1e6
        last = frame.snapshot or last
    assert last.dead_fraction[0] == 0.5


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 101}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"epochs": 1}, "steps"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(blobs(), **settings)
    assert error.value.path == path


def test_examples_that_do_not_fill_a_batch_are_left_out() -> None:
    trainer = make(blobs(), batch_size=30, epochs=4, steps=None)
    assert trainer.steps_per_epoch == 3
    assert trainer.total_steps == 12


def test_every_requested_snapshot_is_in_a_frame_however_fast_the_steps() -> None:
    requested = [0, 1, 2, 5, 8, 29]
    frames = make(blobs(), snapshot_at=requested).frames(interval=60.0)
    assert [f.snapshot.step for f in frames if f.snapshot is not None] == requested
