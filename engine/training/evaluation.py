"""Loss and accuracy on a whole split, in evaluation mode."""

from typing import Final

import numpy as np

from engine.data.dataset import Examples
from engine.losses import Loss
from engine.network import BoundNetwork
from engine.training.training_step import bind_accuracy

BLOCK: Final = 1000  # examples evaluated at a time


class Evaluator:
    """Evaluates one split; it is bound once, and every call uses the current parameters."""

    def __init__(self, network: BoundNetwork, loss: Loss, examples: Examples) -> None:
        backend = network.backend
        self._count = len(examples)
        self._parts = []
        networks: dict[int, BoundNetwork] = {}  # at most two sizes: the blocks and the rest
        for start in range(0, len(examples), BLOCK):
            x, y = examples.x[start : start + BLOCK], examples.y[start : start + BLOCK]
            size = len(y)
            if size not in networks:
                networks[size] = network.rebind(size)
            bound = networks[size]
            scores = bound.bound[-1].output
            self._parts.append(
                (
                    bound,
                    backend.to_device(x),
                    backend.to_device(y, np.int64),
                    loss.bind(scores.shape[1:], size, backend).forward,
                    bind_accuracy(size, backend),
                )
            )

    def __call__(self) -> tuple[float, float]:
        """Return (mean data loss, accuracy) over the split."""
        loss = right = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for network, x, y, measure, accuracy in self._parts:
                scores = network.forward(x, False)
                loss += measure(scores, y) * len(y)
                right += accuracy(scores, y) * len(y)
        return loss / self._count, right / self._count
