"""Short trainings from the initial weights, observed step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.network import BoundNetwork
from engine.statistics.frames import Floats, Frame
from engine.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class ShortRun:
    """Loss and accuracy of the training batches of a few steps, before the update of the step."""

    loss: Floats  # (steps,), without penalties
    accuracy: Floats  # (steps,)

    @property
    def finite(self) -> bool:
        """Whether no loss was NaN or infinite."""
        return bool(np.isfinite(self.loss).all())


def train(trainer: Trainer, enough: Callable[[Frame], bool] = lambda frame: False) -> ShortRun:
    """Train to the end, until `enough(frame)`, or until the loss is not finite."""
    loss: list[float] = []
    accuracy: list[float] = []
    for frame in trainer.frames(interval=0.0):  # one frame per step
        loss += frame.data_loss.tolist()
        accuracy += frame.accuracy.tolist()
        if enough(frame):
            break
    return ShortRun(np.array(loss), np.array(accuracy))


def affordable(trainer: Trainer, work: float, least: int, most: int) -> int:
    """Return how many steps take about `work` multiplications, between `least` and `most`.

    Counted rather than timed, so that a scenario is checked in the same way on every machine.
    """
    step = 3 * trainer.batch_size * _multiplications(trainer.network)  # forward, dx and dW
    return max(least, min(most, int(work / step)))


def _multiplications(network: BoundNetwork) -> int:
    """Return the multiplications of one example's forward pass: weights × positions."""
    return sum(
        prod(bound.output.shape[1:-1]) * sum(v.size for v in views.values() if v.ndim > 1)
        for bound, views in zip(network.bound, network.store.value_views, strict=True)
    )
