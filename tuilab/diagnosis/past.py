"""The history that rules examine: curves in windows, validations, the newest statistics."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import nan
from typing import Final, Literal

import numpy as np

from engine.statistics.frames import (
    Floats,
    Frame,
    LayerInfo,
    Snapshot,
    Validation,
    hidden_layers,
)
from tuilab.diagnosis.dialects import SCENARIO, Dialect

Moment = Literal["snapshot", "window", "validation", "frame"]
"""When a rule examines a run: at a snapshot, at the end of a window of the curves, after a
validation, or at every frame."""

WINDOWS: Final = 250  # of a whole run, at most
FEW: Final = 20  # epochs of a run of fewer are cut into shorter windows
CAPACITY: Final = 1024  # windows in memory: when there are more, neighbours are merged
SMOOTHED: Final = 3  # validations that are averaged, so that one by itself decides nothing
LEARNED: Final = 0.05  # of the first loss: a training loss below is learned, its gradients small


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the rules know of a run before it begins; a command may change layers and epochs."""

    layers: tuple[LayerInfo, ...]  # hidden layers from 1, the output layer last
    classes: int = 0  # 0: not a classification
    total_steps: int = 0  # 0: not known
    steps_per_epoch: int = 1
    guessing_loss: float = nan  # of scores that are all zero: ln C with a softmax
    validation_examples: int = 0
    initializer: str = ""  # by its name
    own_layers: bool = False  # written in [[layer]] tables
    dialect: Dialect = SCENARIO  # how advice names what to change

    @property
    def hidden(self) -> int:
        """Number of hidden layers."""
        return hidden_layers(self.layers)


@dataclass(frozen=True, slots=True)
class Checked:
    """A validation, with the mean training accuracy of the epoch before it (NaN at the start)."""

    step: int
    accuracy: float
    training_accuracy: float


@dataclass
class Past:
    """Everything so far; `take` adds a frame, moment by moment."""

    run: RunFacts
    first: Snapshot | None = None  # of step 0
    newest: Snapshot | None = None
    first_loss: float = float("nan")  # of the first step that was seen, with penalties
    first_data_loss: float = float("nan")
    full_rate: float = 0.0  # the highest learning rate so far, of all steps
    rate: float = 0.0  # of the last step
    checks: deque[Checked] = field(default_factory=lambda: deque(maxlen=2 * SMOOTHED))
    best_accuracy: float = 0.0  # the best mean of SMOOTHED validations in a row
    window: int = 0  # steps
    _table: Floats = field(default_factory=lambda: np.empty((3, CAPACITY)))
    _count: int = 0
    _open: Floats = field(default_factory=lambda: np.zeros(3))  # sums of the window begun
    _open_steps: int = 0
    _epoch: Floats = field(default_factory=lambda: np.zeros(2))  # accuracy summed, and steps

    def __post_init__(self) -> None:
        total, epoch = self.run.total_steps, self.run.steps_per_epoch
        self.window = max(1, total // WINDOWS, min(epoch, total // FEW))

    @property
    def loss(self) -> Floats:
        """Mean loss of each window, with penalties."""
        return self._table[0, : self._count]

    @property
    def data_loss(self) -> Floats:
        """Mean data loss of each window."""
        return self._table[1, : self._count]

    @property
    def accuracy(self) -> Floats:
        """Mean training accuracy of each window."""
        return self._table[2, : self._count]

    @property
    def learned(self) -> bool:
        """Whether the training data are learned, so that small updates are as they should be."""
        if not self._count:
            return False
        reference = np.fmin(self.first_data_loss, self.run.guessing_loss)
        return bool(self.data_loss[-1] < LEARNED * reference)

    @property
    def rate_lowered(self) -> bool:
        """Whether a schedule, or a key, has lowered the learning rate to less than a tenth."""
        return self.rate < 0.1 * self.full_rate

    def windows_in(self, epochs: int) -> int:
        """Return the number of windows in `epochs`; at least one an epoch."""
        return max(epochs, -(-epochs * self.run.steps_per_epoch // self.window))

    def begin(self, loss: float, data_loss: float, first: Snapshot | None) -> None:
        """Remember how a run began: its first losses, and its statistics if of step 0."""
        self.first_loss, self.first_data_loss = loss, data_loss
        if first is not None and first.step == 0:
            self.first = first

    def take(self, frame: Frame) -> Iterator[tuple[Moment, int]]:
        """Add a frame; yield each moment, with its step, as soon as it is part of the past."""
        if (now := frame.status) is not None:
            layers, steps = tuple(now.layers), now.steps_per_epoch
            if len(layers) != len(self.run.layers):
                self.first = None  # its layers are not those of later snapshots
            self.run = replace(self.run, layers=layers, steps_per_epoch=steps)
        if frame.steps and np.isnan(self.first_loss):
            self.begin(float(frame.loss[0]), float(frame.data_loss[0]), frame.snapshot)
        if frame.steps and "learning_rate" in frame.series:
            self.rate = float(frame.learning_rate[-1])
            self.full_rate = max(self.full_rate, float(frame.learning_rate.max()))
        # In the order of steps, so that it does not matter how many of them a frame brings.
        marks: list[tuple[int, Validation | Snapshot]] = [(v.step, v) for v in frame.validations]
        if frame.snapshot is not None:
            marks.append((frame.snapshot.step + 1, frame.snapshot))
        begin = frame.first_step
        for end, what in sorted(marks, key=lambda mark: mark[0]):
            yield from self._take_curves(frame, begin, end)
            begin = max(begin, end)
            if isinstance(what, Validation):
                self._take_validation(what)
                yield "validation", what.step
            else:
                self.newest = what
                yield "snapshot", what.step
        yield from self._take_curves(frame, begin, frame.next_step)
        yield "frame", max(frame.next_step - 1, 0)

    def _take_curves(self, frame: Frame, begin: int, end: int) -> Iterator[tuple[Moment, int]]:
        """Add the steps `begin` … `end` − 1 of a frame."""
        steps = slice(begin - frame.first_step, max(end, begin) - frame.first_step)
        values = np.stack([frame.loss[steps], frame.data_loss[steps], frame.accuracy[steps]])
        self._epoch += values[2].sum(), values.shape[1]
        taken = 0
        while taken < values.shape[1]:
            part = values[:, taken : taken + self.window - self._open_steps]
            self._open += part.sum(axis=1)
            self._open_steps += part.shape[1]
            taken += part.shape[1]
            if self._open_steps == self.window:
                self._close_window()
                yield "window", begin + taken - 1

    def _close_window(self) -> None:
        self._table[:, self._count] = self._open / self._open_steps
        self._open[:], self._open_steps = 0.0, 0
        self._count += 1
        if self._count == CAPACITY:
            self._count //= 2
            self._table[:, : self._count] = self._table.reshape(3, -1, 2).mean(axis=2)
            self.window *= 2

    def _take_validation(self, validation: Validation) -> None:
        right, steps = self._epoch.tolist()
        self._epoch[:] = 0.0
        training = right / steps if steps else float("nan")
        self.checks.append(Checked(validation.step, validation.accuracy, training))
        if len(self.checks) >= SMOOTHED:
            mean = float(np.mean([check.accuracy for check in [*self.checks][-SMOOTHED:]]))
            self.best_accuracy = max(self.best_accuracy, mean)
