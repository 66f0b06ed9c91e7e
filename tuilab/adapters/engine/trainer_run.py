"""Records a `Trainer` that a program builds and drives: `tuilab.watch(trainer)`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np

from engine.commands import KINDS, Command
from engine.errors import TuilabError
from engine.states import EventKind, RunState
from engine.statistics.frames import Frame, Validation
from engine.training.trainer import Trainer
from tuilab.adapters.engine.command_check import CommandCheck
from tuilab.adapters.engine.description import compute_info, data_info, trainer_facts
from tuilab.adapters.recorder import Packet
from tuilab.adapters.scalars import Fetched, Scalars, as_float, floats
from tuilab.adapters.watched_run import WatchedRun, WatchOptions
from tuilab.record import Source

SOURCE: Final = Source(source="engine", capabilities=(*KINDS, "arm"))


@dataclass(frozen=True, kw_only=True)
class _Made(Packet):
    """A frame that needs no more work."""

    made: Frame

    def frame(self) -> Frame:
        return self.made


class _Inbox(SimpleQueue[Command]):
    """Hands the commands of the view to the queue from which the trainer takes them now."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._trainer = trainer

    def put(self, item: Command, block: bool = True, timeout: float | None = None) -> None:
        if item.kind == "arm":
            self._trainer.measure(max(1, int(item.value)))
        self._trainer.inbox.put(item)


class TrainerControls:
    """What the view may change of a trainer: everything that its commands can."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._check = CommandCheck(SOURCE, trainer)
        self.detach = lambda: None

    def publish(self) -> None:
        """Judge commands by how the trainer is now."""
        self._check.publish(self._trainer)

    def hyperparameters(self) -> Mapping[str, float]:
        """Return the current values."""
        return dict(self._trainer.hyperparameters)

    def refusal(self, command: Command) -> str:
        """Return why a command cannot be applied, or ""."""
        return self._check.refusal(command)

    def apply(self, command: Command) -> Mapping[str, object]:
        """Leave a command to the trainer, which records it as an event once it is applied."""
        self._trainer.inbox.put(command)
        return command.plain()

    def uneven(self) -> bool:
        """Return False: one process trains."""
        return False

    def fetch(self, rows: Sequence[Scalars]) -> Fetched:
        """Return numbers, which are all in main memory."""
        return floats(rows)

    def save(self, path: Path) -> None:
        """Save a checkpoint, which `Trainer.restore` takes."""
        self._trainer.checkpoint().save(path)


class TrainerRun(WatchedRun):
    """A trainer whose frames are recorded while the program iterates over them.

    The trainer applies the commands of the view itself, ends its frames at "stop", and measures by
    its own clock.
    """

    def __init__(self, trainer: Trainer, options: WatchOptions) -> None:
        """Create the run folder and start to record. Raises ConfigError, RunError."""
        self._trainer = trainer
        self._trainer_controls = controls = TrainerControls(trainer)
        options = replace(
            options,
            total_steps=trainer.total_steps,
            steps_per_epoch=trainer.steps_per_epoch,
            classes=len(trainer.data.classes),
        )
        super().__init__(
            options,
            controls,
            SOURCE,
            compute_info(trainer.backend),
            facts=trainer_facts(trainer),
            inbox=_Inbox(trainer),
        )
        self._logged: Scalars = {}
        self._first = True
        self.describe(data_info(trainer.data), trainer.status)
        trainer.listeners.append(self._record)
        controls.detach = self._detach

    def _detach(self) -> None:
        if self._record in self._trainer.listeners:
            self._trainer.listeners.remove(self._record)

    @property
    def step(self) -> int:
        """Number of updates made."""
        return self._trainer.step

    @property
    def steps_per_epoch(self) -> int:
        """Number of updates in an epoch."""
        return self._trainer.steps_per_epoch

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction."""
        return self._trainer.epoch

    def log(self, **values: Any) -> None:
        """Record values by name with the next step; the trainer records its own by itself."""
        if not self.closed:
            self._logged |= values

    def arm(self, steps: int = 1) -> None:
        """Measure the next `steps` steps."""
        self._trainer.measure(steps)

    def close(self) -> None:
        """End the record; the trainer may go on without it. Does nothing twice."""
        if self._error:
            self._end(RunState.FAILED, self._error)
        else:
            state = self._trainer.state
            self._end(state if state.ended else RunState.STOPPED)

    def _record(self, frame: Frame) -> None:
        """Hand a frame to the recorder. Never raises into the trainer."""
        try:
            self._trainer_controls.publish()
            requested = any(event.kind == EventKind.CHECKPOINT for event in frame.events)
            self._put(frame)
            if requested:
                self._save_requested()
        except Exception as error:  # noqa: BLE001  (never into the program)
            self.failed(error)

    def _put(self, frame: Frame) -> None:
        series = dict(frame.series)
        if self._logged and frame.steps:
            for name, value in self._logged.items():
                series[name] = np.full(frame.steps, math.nan)
                series[name][0] = as_float(value)
            self._logged = {}
        status = self._trainer.status if self._first else frame.status
        self._first = False
        validations = *frame.validations, *self._take_validations()
        made = replace(frame, series=series, status=status, validations=validations)
        self._recorder.put(_Made(first_step=frame.first_step, events=frame.events, made=made))

    def _take_validations(self) -> list[Validation]:
        taken, self._validations = self._validations, []
        return [
            Validation(step, epoch, {name: as_float(value) for name, value in values.items()})
            for step, epoch, values in taken
        ]

    def _save_requested(self) -> None:
        try:
            self._save()
        except (TuilabError, OSError) as error:
            self._event(EventKind.REFUSED, {"command": "checkpoint", "reason": str(error)})

    def _send(self, now: float, measured: Any = None, **options: Any) -> None:
        """Record what the program has added after the last frame."""
        if self._validations or self._events:
            events, self._events = self._events, []
            frame = Frame(
                first_step=self.step,
                time=self._elapsed(),
                epoch=self.epoch,
                hyperparameters=self._trainer_controls.hyperparameters(),
                validations=self._take_validations(),
                events=events,
                state=self._trainer.state,
            )
            self._recorder.put(_Made(first_step=self.step, events=events, made=frame))


def watch_trainer(trainer: Trainer, options: WatchOptions) -> TrainerRun:
    """Record a trainer; one that is recorded already keeps its run.

    Raises ConfigError, RunError.
    """
    for listener in trainer.listeners:
        run = getattr(listener, "__self__", None)
        if isinstance(run, TrainerRun):
            return run
    return TrainerRun(trainer, options)
