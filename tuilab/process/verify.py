"""`tuilab replay --verify`: train a recorded run once more, with its key presses, and compare."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from engine.backends import make_backend
from engine.commands import Command
from engine.states import EventKind
from engine.statistics.frames import Event, Floats, Frame
from engine.training.changes import CHANGES
from engine.training.checkpoint import Checkpoint
from engine.training.trainer import Trainer
from tuilab.claims.metrics import Record
from tuilab.data.folder import data_folder
from tuilab.errors import RunError
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import saved_checkpoints
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load

SERIES: Final = ("loss", "data_loss", "accuracy")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a run compares with itself: `difference` is "" where they are equal to the last bit."""

    steps: int
    events: int  # key presses that changed something
    checkpoints: int  # whose parameters were compared
    difference: str = ""

    def __str__(self) -> str:
        if self.difference:
            return self.difference
        return (
            f"equal to the last bit: loss and accuracy of {self.steps:,} steps with "
            f"{self.events} changes by key, the parameters of {self.checkpoints} checkpoints"
        )


def verify(folder: RunFolder, progress: Callable[[int], None] = lambda step: None) -> Comparison:
    """Train the run in `folder` again and compare. Raises RunError, ScenarioError, DataError.

    `progress` is called with every step.
    """
    with RunReader(folder.database) as reader:
        record, info = Record(reader), reader.info()
        events = [event for _, event in reader.events() if _changes(event)]
        keys = sum(event.kind != EventKind.RESUMED for event in events)
        checkpoints = {saved.step: saved.path for saved in saved_checkpoints(folder, reader)}
    if not len(record.loss):
        raise RunError(f"{folder.path} has no steps to compare")
    scenario = load(folder.scenario)
    data = load_data(scenario, data_folder(info.options.get("data_dir", "")))
    trained: dict[str, list[Floats]] = defaultdict(list)
    compared, because = 0, ""
    with threadpool_limits(info.threads or None):
        backend = make_backend(info.backend or "auto", info.dtype or "float32", info.threads or 1)
        if info.software not in ("", backend.software):
            because = f" (recorded with {info.software}, replayed with {backend.software})"
        trainer = build_trainer(scenario, data, backend, probes=False)
        trainer.plan(_planned_first(events, info.total_steps))
        for frame in _again(trainer, events, len(record.loss)):
            for name in SERIES:
                trained[name].append(frame.values(name))
            progress(trainer.step)
            if trainer.step in checkpoints:
                checkpoint = Checkpoint.load(checkpoints[trainer.step])
                if _follows_a_change(checkpoint):
                    continue
                compared += 1
                if not _same_parameters(trainer, checkpoint):
                    return Comparison(
                        trainer.step,
                        keys,
                        compared,
                        "the parameters differ from those of the checkpoint at "
                        f"{trainer.step}{because}",
                    )
    difference = _first_difference(record, {name: np.concatenate(v) for name, v in trained.items()})
    return Comparison(len(record.loss), keys, compared, difference and difference + because)


def _changes(event: Event) -> bool:
    """Return whether an event is a change that has to be applied again."""
    planned = event.kind == EventKind.RESUMED and "total_steps" in event.detail
    return planned or event.kind == EventKind.SET or event.kind in CHANGES


def _planned_first(events: list[Event], now: int) -> int:
    """Return how many steps a run was to have when it began: a schedule goes by them."""
    resumed = [event for event in events if event.kind == EventKind.RESUMED]
    return int(str(resumed[0].detail["previous"])) if resumed else now


def _again(trainer: Trainer, events: list[Event], steps: int) -> Iterator[Frame]:
    """Train `steps` steps, a frame each, and apply the recorded changes after the same steps."""
    due: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        due[event.step].append(event)
    inbox: SimpleQueue[Command] = SimpleQueue()

    def prepare() -> None:
        for event in due.pop(trainer.step, []):
            if event.kind == EventKind.RESUMED:
                trainer.plan(int(str(event.detail["total_steps"])))
            else:
                inbox.put(Command.of_event(event))

    prepare()
    for frame in trainer.frames(inbox, interval=0):
        yield frame
        if trainer.step >= steps:
            return
        prepare()


def _follows_a_change(checkpoint: Checkpoint) -> bool:
    """Return whether a change was made between the last step and the checkpoint.

    Here the change is made together with the next step, whose loss shows whether it was the same.
    """
    return any(change["step"] == checkpoint.step for change in checkpoint.changes)


def _same_parameters(trainer: Trainer, checkpoint: Checkpoint) -> bool:
    ours = trainer.backend.to_host(trainer.network.store.values)
    return np.array_equal(ours, checkpoint.arrays["parameters"], equal_nan=True)


def _first_difference(record: Record, trained: dict[str, Floats]) -> str:
    for name in SERIES:
        recorded, again = record.per_step(name), trained[name]
        if name == "accuracy":  # which is recorded in single precision
            again = again.astype(np.float32).astype(np.float64)
        equal = (recorded == again) | (np.isnan(recorded) & np.isnan(again))
        if not equal.all():
            step = int(np.argmin(equal))
            return (
                f"{name} differs first at step {step}: "
                f"{recorded[step]!r} recorded, {again[step]!r} now"
            )
    return ""
