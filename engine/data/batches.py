"""The batches of an epoch."""

import copy
from collections.abc import Iterator

import numpy as np

from engine.backends.base import Host
from engine.errors import require


class Batches:
    """Batches of equal size from the examples, in an order that is shuffled at every epoch.

    Examples that do not fill a batch are left out, different ones in every epoch.
    Raises ConfigError.
    """

    def __init__(
        self, examples: int, size: int, generator: np.random.Generator, *, start: int = 0
    ) -> None:
        """Divide `examples` into batches of `size`; the first epoch begins at step `start`."""
        check_batch_size(size, examples)
        self.size, self._start = size, start
        self.per_epoch = examples // size
        self.order = np.arange(examples)
        self._generator = generator

    def of_step(self, step: int) -> Host:
        """Return the examples (size,) of `step`; to be called for every step in order."""
        position = (step - self._start) % self.per_epoch
        if position == 0:
            self._generator.shuffle(self.order)
        return self._batch(position)

    def first(self) -> Host:
        """Return the examples of the first step without drawing from the generator."""
        order = self.order.copy()
        copy.deepcopy(self._generator).shuffle(order)
        return order[: self.size]

    def in_order(self, examples: int) -> Iterator[Host]:
        """Yield batches of at most `examples` in total, but at least one, in the current order."""
        for position in range(max(1, min(len(self.order), examples) // self.size)):
            yield self._batch(position)

    def _batch(self, position: int) -> Host:
        return self.order[position * self.size : (position + 1) * self.size]


def check_batch_size(size: int, examples: int) -> None:
    """Raise ConfigError unless `examples` can be divided into batches of `size`."""
    require(
        1 <= size <= examples,
        "batch_size",
        f"must be 1 … {examples} (the number of training examples), is {size}",
    )
