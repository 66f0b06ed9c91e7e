"""Checkpoints: a run that was cut in two is the run that was not, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.activations import ReLU
from engine.backends.base import Backend
from engine.data.augmentation import HorizontalFlip, RandomCrop
from engine.data.dataset import Dataset, Examples
from engine.errors import CheckpointError
from engine.initializers import He
from engine.layers.batch_norm import BatchNorm
from engine.layers.conv2d import Conv2d
from engine.layers.dropout import Dropout
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.reshape import Flatten, Image
from engine.network import Network
from engine.optimization.optimizers import SGD, Optimizer
from engine.optimization.schedules import Cosine, ReduceOnPlateau, Schedule
from engine.training.checkpoint import Checkpoint
from engine.training.trainer import Trainer
from tests.engine.variants import OPTIMIZERS, name

PIXELS = (1, 6, 6)


def images(seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(70, 36)), generator.integers(0, 3, 70)
    train, held = Examples(x[:50], y[:50]), Examples(x[50:], y[50:])
    return Dataset("images", ("a", "b", "c"), train, held, pixels=PIXELS)


def network() -> Network:
    """One with everything that has a state: running averages, noise, units that can die."""
    return Network(
        [
            Image(*PIXELS),
            Conv2d(4, 3, initializer=He()),
            BatchNorm(),
            Nonlinearity(ReLU()),
            Flatten(),
            Dropout(0.3),
            Linear(3, initializer=He()),
        ]
    )


def make(
    steps: int = 20,
    *,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    data: Dataset | None = None,
    backend: Backend | None = None,
) -> Trainer:
    return Trainer(
        network(),
        data or images(),
        optimizer=optimizer or SGD(0.05, momentum=0.9),
        schedule=schedule or Cosine(),
        batch_size=10,
        steps=steps,
        backend=backend,
        augment=[HorizontalFlip(), RandomCrop(1)],
    )


def until(trainer: Trainer, step: int) -> Trainer:
    """Train up to `step`, from frame to frame as a worker does."""
    for _ in trainer.frames(interval=0):
        if trainer.step == step:
            break
    return trainer


def state_of(trainer: Trainer) -> dict[str, object]:
    taken = trainer.checkpoint()
    arrays = {name: array.tobytes() for name, array in taken.arrays.items()}
    return arrays | {"generators": taken.generators, "step": taken.step}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name)
@pytest.mark.parametrize("at", [5, 11, 12])  # the end of an epoch, and within one
def test_a_run_cut_in_two_is_the_whole_run(
    optimizer: Optimizer, at: int, backend: Backend, tmp_path: Path
) -> None:
    whole = until(make(optimizer=optimizer, backend=backend), 20)
    until(first := make(optimizer=optimizer, backend=backend), at)
    first.checkpoint().save(tmp_path / "one.safetensors")
    second = make(optimizer=optimizer, backend=backend)
    second.restore(Checkpoint.load(tmp_path / "one.safetensors"))
    until(second, 20)
    assert state_of(second) == state_of(whole)


def test_the_plateau_that_a_schedule_saw_is_not_forgotten() -> None:
    schedule = ReduceOnPlateau(patience=0, threshold=0.5)  # so that it lowers the rate soon
    whole = until(make(schedule=schedule), 20)
    first = until(make(schedule=schedule), 15)
    second = make(schedule=schedule)
    second.restore(first.checkpoint())
    assert first.checkpoint().arrays["schedule"][2] < 1
    assert state_of(until(second, 20)) == state_of(whole)


def test_frames_go_on_where_they_ended() -> None:
    taken = until(make(), 12).checkpoint()
    second = make()
    second.restore(taken)
    frames = list(second.frames(interval=0))
    assert [frames[0].first_step, frames[-1].next_step] == [12, 20]
    assert [event.kind for event in frames[0].events] == ["resumed"]
    assert frames[0].snapshot is not None
    assert frames[0].time >= taken.seconds > 0
    steps = [validation.step for frame in frames for validation in frame.validations]
    assert steps == [15, 20]  # and not a second time at step 12


def test_what_was_set_while_training_stays_set() -> None:
    first = make()
    first.hyperparameters["learning_rate"] = 0.125
    second = make()
    second.restore(first.checkpoint())
    assert second.hyperparameters["learning_rate"] == 0.125


def test_a_checkpoint_shares_no_memory_with_the_run() -> None:
    trainer = until(make(), 5)
    taken = trainer.checkpoint()
    before = taken.arrays["parameters"].copy()
    until(trainer, 12)
    assert np.array_equal(taken.arrays["parameters"], before)


def test_a_run_that_has_ended_has_nothing_to_continue() -> None:
    ended = until(make(), 20)
    with pytest.raises(CheckpointError, match="nothing is left to train"):
        make().restore(ended.checkpoint())
    longer = make(steps=25, schedule=Cosine())
    longer.restore(ended.checkpoint())
    assert until(longer, 25).state == "finished"


def flip_a_bit(content: bytes) -> bytes:
    return content[:-7] + bytes([content[-7] ^ 1]) + content[-6:]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (flip_a_bit, "checksum"),
        (lambda content: content[: len(content) // 2], "cannot be read"),
        (lambda content: b"", "cannot be read"),
        (lambda content: b"\x08\0\0\0\0\0\0\0{}      ", "not a checkpoint of this version"),
        (lambda content: content.replace(b"checkpoint 2", b"checkpoint 9"), "checkpoint 9"),
    ],
)
def test_a_damaged_file_is_refused(
    spoil: Callable[[bytes], bytes], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    make().checkpoint().save(path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=reason) as error:
        Checkpoint.load(path)
    assert str(path) in str(error.value)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            Checkpoint.load(path)


def test_nothing_is_left_behind_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    make().checkpoint().save(tmp_path / "good.safetensors")
    monkeypatch.setattr("engine.training.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        make().checkpoint().save(tmp_path / "good.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["good.safetensors"]
    Checkpoint.load(tmp_path / "good.safetensors")


def test_a_checkpoint_of_another_run_is_refused_and_changes_nothing() -> None:
    taken = until(make(), 5).checkpoint()
    others = {
        "training data": make(data=images(seed=1)),
        "optimizer": make(optimizer=OPTIMIZERS[-1]),
        "layer 2": Trainer(
            Network([Image(*PIXELS), Conv2d(5, 3), Flatten(), Linear(3)]), images(), steps=9
        ),
    }
    for difference, trainer in others.items():
        before = state_of(trainer)
        with pytest.raises(CheckpointError, match=f"belongs to another run: .* '{difference}'"):
            trainer.restore(taken)
        assert state_of(trainer) == before


def test_an_array_that_is_missing_is_named() -> None:
    taken = make().checkpoint()
    arrays = {name: array for name, array in taken.arrays.items() if name != "running"}
    with pytest.raises(CheckpointError, match="'running': nothing there"):
        make().restore(replace(taken, arrays=arrays))
