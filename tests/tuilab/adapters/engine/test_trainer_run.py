"""A trainer of the engine that a program builds is recorded by `tuilab.watch(trainer)`."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

import tuilab
from engine import Command, Trainer, mlp
from engine.activations import ReLU
from engine.data.dataset import prepare
from engine.data.sources.digits import Digits
from engine.errors import ConfigError
from engine.initializers import He
from engine.optimization.optimizers import SGD
from engine.states import RunState
from engine.training.checkpoint import Checkpoint
from tests.tuilab.adapters.support import Viewer, recorded
from tuilab.adapters.engine.trainer_run import TrainerRun

FOREVER = 10**6


def a_trainer(steps: int = 30) -> Trainer:
    generator = np.random.default_rng(0)
    digits = Digits().load(generator=generator, directory=None)
    data = prepare(digits, validation=0.2, preprocess=[], generator=generator)
    network = mlp([16, 12], classes=10, activation=ReLU(), initializer=He())
    return Trainer(network, data, optimizer=SGD(0.001), batch_size=64, steps=steps)


def watch(trainer: Trainer, tmp_path: Path) -> TrainerRun:
    run = tuilab.watch(trainer, out=str(tmp_path / "run"), quiet=True)
    assert isinstance(run, TrainerRun)
    return run


def test_everything_that_the_trainer_yields_is_recorded(tmp_path: Path) -> None:
    trainer = a_trainer()
    frames = []
    with watch(trainer, tmp_path) as run:
        for frame in trainer.frames():
            frames.append(frame)
    assert run.closed
    result = recorded(run.folder)
    info = result.info
    losses = np.concatenate([frame.series["loss"] for frame in frames if frame.steps])
    np.testing.assert_array_equal(result.series["loss"], losses)
    assert info.state is RunState.FINISHED
    assert (info.step, info.total_steps, info.source) == (30, 30, "engine")
    assert (info.classes, info.steps_per_epoch) == (10, trainer.steps_per_epoch)
    assert [layer.units for layer in info.layers] == [16, 12, 10]
    assert [snapshot.step for snapshot in result.snapshots] == [
        frame.snapshot.step for frame in frames if frame.snapshot is not None
    ]


def test_watching_changes_no_weight(tmp_path: Path) -> None:
    plain, watched = a_trainer(), a_trainer()
    with watch(watched, tmp_path):
        for trainer in (plain, watched):
            for _ in trainer.frames():
                pass
    np.testing.assert_array_equal(plain.network.store.values, watched.network.store.values)


@pytest.mark.parametrize("own_queue", [False, True])
def test_all_keys_work_whether_or_not_the_program_has_a_queue_of_its_own(
    tmp_path: Path, own_queue: bool
) -> None:
    trainer = a_trainer(FOREVER)
    run = watch(trainer, tmp_path)
    inbox: SimpleQueue[Command] | None = SimpleQueue() if own_queue else None
    started: Callable[[], bool] = lambda: trainer.step > 3  # noqa: E731
    paused: Callable[[], bool] = lambda: trainer.state is RunState.PAUSED  # noqa: E731
    viewer = Viewer(
        run.folder,
        (started, Command("pause")),
        (paused, Command("step")),
        (paused, Command("scale", "learning_rate", 0.5)),
        (paused, Command("batch_norm", name="insert")),
        (paused, Command("activation", name="no such thing")),
        (paused, Command("checkpoint")),
        (paused, Command("arm", value=3)),
        (paused, Command("resume")),
        (lambda: trainer.state is RunState.RUNNING, Command("stop")),
    )
    for _ in trainer.frames(inbox):
        pass
    viewer.join()
    run.close()
    result = recorded(run.folder)
    info, kinds = result.info, result.kinds()
    assert [bool(reply) for reply in viewer.replies] == [at == 4 for at in range(9)]
    for kind in ("pause", "step", "set", "batch_norm", "checkpoint", "resume", "stop"):
        assert kind in kinds
    assert info.state is RunState.STOPPED
    assert info.hyperparameters["learning_rate"] == 0.0005
    assert info.layers[0].normalization == "batch_norm"
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    checkpoint = Checkpoint.load(saved)
    again = a_trainer(FOREVER)
    again.restore(checkpoint)
    assert again.step == checkpoint.step > 3


def test_an_armed_step_is_measured(tmp_path: Path) -> None:
    trainer = a_trainer()
    with watch(trainer, tmp_path) as run:
        for frame in trainer.frames(interval=0.0):
            if frame.next_step == 7:
                run.arm(3)
    assert {7, 8, 9} <= {snapshot.step for snapshot in recorded(run.folder).snapshots}


def test_values_of_the_program_are_recorded_beside_those_of_the_trainer(tmp_path: Path) -> None:
    trainer = a_trainer()
    with watch(trainer, tmp_path) as run:
        run.log(temperature=0.5)
        for _ in trainer.frames():
            pass
        run.validation(test_accuracy=0.75)
    result = recorded(run.folder)
    temperature, last = result.series["temperature"], result.validations[-1]
    assert temperature[0] == 0.5
    assert np.isnan(temperature[1:]).all()
    assert (last.step, last.values["test_accuracy"]) == (30, 0.75)


def test_a_second_watch_returns_the_same_run(tmp_path: Path) -> None:
    trainer = a_trainer()
    with watch(trainer, tmp_path) as run:
        assert tuilab.watch(trainer) is run
    assert not trainer.listeners


def test_training_goes_on_when_the_record_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = a_trainer()
    run = watch(trainer, tmp_path)

    def broken(_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(run, "_put", broken)
    for _ in trainer.frames():
        pass
    assert trainer.step == 30
    assert run.closed
    assert capsys.readouterr().err.count("no longer watching") == 1


def test_what_a_trainer_decides_itself_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clock"):
        tuilab.watch(a_trainer(), every=10, out=str(tmp_path / "run"))
