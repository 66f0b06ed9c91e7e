"""Growing per-step series, and their reduction to the width of a canvas."""

from typing import NamedTuple

import numpy as np

from engine.frames import Floats
from tuilab.recording import Block


class Series:
    """Steps with loss, accuracy and learning rate; appending costs amortised constant time."""

    def __init__(self) -> None:
        self._length = 0
        self._data = np.empty((4, 1024))

    def __len__(self) -> int:
        return self._length

    def append(self, block: Block) -> None:
        """Add the steps of one block."""
        end = self._length + len(block.loss)
        if end > self._data.shape[1]:
            grown = np.empty((4, max(end, 2 * self._data.shape[1])))
            grown[:, : self._length] = self._data[:, : self._length]
            self._data = grown
        into = self._data[:, self._length : end]
        into[0] = np.arange(block.first_step, block.next_step)
        into[1], into[2], into[3] = block.loss, block.accuracy, block.learning_rate
        self._length = end

    @property
    def steps(self) -> Floats:
        """Step of each value."""
        return self._data[0, : self._length]

    @property
    def loss(self) -> Floats:
        """Training loss of each step, NaN where it broke."""
        return self._data[1, : self._length]

    @property
    def accuracy(self) -> Floats:
        """Accuracy on the batch of each step."""
        return self._data[2, : self._length]

    @property
    def learning_rate(self) -> Floats:
        """Learning rate of each step."""
        return self._data[3, : self._length]


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
