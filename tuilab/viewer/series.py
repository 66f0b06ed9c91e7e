"""Growing per-step series of bounded size, and their reduction to the width of a canvas."""

from typing import Final, NamedTuple

import numpy as np

from engine.frames import Floats
from tuilab.recording import Block

POINTS: Final = 1 << 17
"""Points kept: when there are twice as many, each two become one. A chart is 500 points wide."""


class Series:
    """Loss and accuracy over steps; each point is the mean of `stride` steps."""

    def __init__(self) -> None:
        self.stride = 1
        self.first_loss = self.latest_loss = self.latest_accuracy = float("nan")
        self._length = 0
        self._data = np.empty((3, 1024))
        self._rest = np.empty((3, 0))  # steps that do not fill a point yet

    def __len__(self) -> int:
        return self._length

    def append(self, block: Block) -> None:
        """Add the steps of one block; amortised constant time a step."""
        if not len(block.loss):
            return
        if not self._length:
            self.first_loss = float(block.loss[0])
        self.latest_loss, self.latest_accuracy = float(block.loss[-1]), float(block.accuracy[-1])
        steps = np.arange(block.first_step, block.next_step, dtype=np.float64)
        new = np.concatenate([self._rest, np.stack([steps, block.loss, block.accuracy])], axis=1)
        whole = new.shape[1] // self.stride * self.stride
        self._rest = new[:, whole:]
        self._push(_means(new[:, :whole], self.stride))
        while self._length >= 2 * POINTS:
            halved = _means(self._data[:, : 2 * POINTS], 2)
            after = self._data[:, 2 * POINTS : self._length].copy()
            self._length, self.stride = 0, 2 * self.stride
            self._push(halved)
            self._push(_means(after[:, : after.shape[1] // 2 * 2], 2))

    def _push(self, points: Floats) -> None:
        end = self._length + points.shape[1]
        if end > self._data.shape[1]:
            grown = np.empty((3, max(end, 2 * self._data.shape[1])))
            grown[:, : self._length] = self._data[:, : self._length]
            self._data = grown
        self._data[:, self._length : end] = points
        self._length = end

    def since(self, step: int) -> "Series":
        """Return the series from `step` on; it shares memory with this one, and is not added to."""
        part = Series()
        part.stride, part.first_loss = self.stride, self.first_loss
        part.latest_loss, part.latest_accuracy = self.latest_loss, self.latest_accuracy
        start = int(np.searchsorted(self.steps, step))
        part._data = self._data[:, start : self._length]
        part._length = self._length - start
        return part

    def value(self, kind: str, at: int | None) -> float:
        """Return the newest "loss" or "accuracy", or that of the step `at`."""
        if at is None:
            return float(getattr(self, f"latest_{kind}"))
        place = int(np.searchsorted(self.steps, at, side="right")) - 1
        return float(getattr(self, kind)[max(place, 0)])

    @property
    def steps(self) -> Floats:
        """Step of each point: of several, the middle."""
        return self._data[0, : self._length]

    @property
    def loss(self) -> Floats:
        """Training loss; not finite where none of its steps is."""
        return self._data[1, : self._length]

    @property
    def accuracy(self) -> Floats:
        """Accuracy on the training batches."""
        return self._data[2, : self._length]


def _means(values: Floats, size: int) -> Floats:
    """Return the mean of the finite ones of each `size` neighbours in a row; NaN of none."""
    if size == 1:
        return values
    groups = values.reshape(len(values), -1, size)
    finite = np.isfinite(groups)
    number = finite.sum(axis=2)
    total = np.where(finite, groups, 0.0).sum(axis=2)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


class Reduced(NamedTuple):
    """A series brought to few points: where they lie, and what they stand for."""

    x: Floats
    low: Floats
    high: Floats
    mean: Floats  # NaN where no value is finite: a gap


def reduce(steps: Floats, values: Floats, points: int) -> Reduced:
    """Reduce a series to at most `points`: minimum, maximum and mean of the finite values of each.

    A stretch without a finite value stays a gap; a series that is short enough stays as it is.
    """
    size = len(values)
    finite = np.isfinite(values)
    if size <= points:
        shown = np.where(finite, values, np.nan)
        return Reduced(steps.copy(), shown, shown, shown)
    starts = np.arange(points) * size // points
    number = np.add.reduceat(finite, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    gap = number == 0
    mean = np.where(gap, np.nan, total / np.maximum(number, 1))
    ends = np.append(starts[1:], size) - 1
    x = (steps[starts] + steps[ends]) / 2
    return Reduced(x, np.where(gap, np.nan, low), np.where(gap, np.nan, high), mean)
