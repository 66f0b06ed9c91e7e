"""Short trainings from the same first weights, watched step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.network import BoundNetwork
from engine.statistics.frames import Floats, Frame
from engine.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class ShortRun:
    """What the training batches of a few steps said, each before its update."""

    loss: Floats  # (steps,), without penalties
    accuracy: Floats  # (steps,)

    @property
    def finite(self) -> bool:
        """Whether no loss was NaN or infinite."""
        return bool(np.isfinite(self.loss).all())


def train(trainer: Trainer, enough: Callable[[Frame], bool] = lambda frame: False) -> ShortRun:
    """Train to the end, or until a step is `enough`; what is not finite ends it in any case."""
    loss: list[float] = []
    accuracy: list[float] = []
    for frame in trainer.frames(interval=0.0):  # a frame a step
        loss += frame.data_loss.tolist()
        accuracy += frame.accuracy.tolist()
        if enough(frame):
            break
    return ShortRun(np.array(loss), np.array(accuracy))


def affordable(trainer: Trainer, work: float, least: int, most: int) -> int:
    """Return how many steps make about `work` multiplications, within bounds.

    Counted and not timed, so that the same scenario is checked alike everywhere.
    """
    step = 3 * trainer.batch_size * _multiplications(trainer.network)  # forwards, dx and dW
    return max(least, min(most, int(work / step)))


def _multiplications(network: BoundNetwork) -> int:
    """Return those of one example on its way forwards: each weight at each place of its layer."""
    return sum(
        prod(bound.output.shape[1:-1]) * sum(v.size for v in views.values() if v.ndim > 1)
        for bound, views in zip(network.bound, network.store.value_views, strict=True)
    )
