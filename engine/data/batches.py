"""Which examples make the batch of a step."""

import copy
from collections.abc import Iterator

import numpy as np

from engine.backends.base import Host
from engine.errors import require


class Batches:
    """Batches of equal size, from the examples in an order that is drawn anew for every epoch.

    What does not fill a batch is left out of an epoch, other examples each time.
    Raises ConfigError.
    """

    def __init__(
        self, examples: int, size: int, generator: np.random.Generator, *, start: int = 0
    ) -> None:
        """Cut so many examples into batches of `size`; the first epoch begins at step `start`."""
        check_batch_size(size, examples)
        self.size, self._start = size, start
        self.per_epoch = examples // size
        self.order = np.arange(examples)
        self._generator = generator

    def of_step(self, step: int) -> Host:
        """Return the examples (size,) of `step`; the steps of an epoch are asked for in turn."""
        position = (step - self._start) % self.per_epoch
        if position == 0:
            self._generator.shuffle(self.order)
        return self._cut(position)

    def first(self) -> Host:
        """Return what the first step will get, and draw nothing."""
        order = self.order.copy()
        copy.deepcopy(self._generator).shuffle(order)
        return order[: self.size]

    def in_order(self, examples: int) -> Iterator[Host]:
        """Yield batches of at most so many examples (but one batch) in the order as it stands."""
        for position in range(max(1, min(len(self.order), examples) // self.size)):
            yield self._cut(position)

    def _cut(self, position: int) -> Host:
        return self.order[position * self.size : (position + 1) * self.size]


def check_batch_size(size: int, examples: int) -> None:
    """Raise ConfigError unless so many examples can be cut into batches of `size`."""
    require(
        1 <= size <= examples,
        "batch_size",
        f"must be 1 … {examples} (the training examples there are), is {size}",
    )
