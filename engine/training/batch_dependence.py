"""How much the scores of an example depend on the others in its batch.

With batch normalisation they do so in training, because mean and variance are those of the batch:
that is noise, and more of it in a smaller batch. At evaluation they must not (lecture 6, "batch
normalization").
"""

from typing import Final

import numpy as np

from engine.backends.base import Host
from engine.statistics.frames import BatchDependence, Floats
from engine.training.training_step import TrainingStep

EXAMPLES: Final = 8
"""Examples whose scores are compared, each in two batches: enough for a relative error of 1/6."""


class BatchDependenceProbe:
    """Measures a training step's network; restores running averages and the noise stream."""

    def __init__(self, step: TrainingStep, examples: int) -> None:
        """Choose the batches to compare, the same at every call; `examples` is their number."""
        self._step, self._network = step, step.network
        batch = step.network.batch_shape[0]
        generator = np.random.default_rng(0)
        self._batches = []
        for example in generator.permutation(examples)[:EXAMPLES]:
            others = np.delete(np.arange(examples), example)
            companions = (generator.permutation(others)[: batch - 1] for _ in range(2))
            self._batches.append([np.concatenate([[example], rest]) for rest in companions])

    def __call__(self, updates: int) -> BatchDependence:
        """Return the result after `updates`; 0 for a network without running averages."""
        if not self._network.store.state.size:
            return BatchDependence(updates, 0.0, 0.0)
        changes = []
        shape = (len(self._batches), 2, *self._network.bound[-1].output.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for training in (True, False):
                scores = np.empty(shape)
                for row, column in np.ndindex(shape[:2]):
                    with self._network.undisturbed():  # and with the same dropout masks
                        rows = self._batches[row][column]
                        scores[row, column] = self._scores(rows, training)
                changes.append(_relative_change(scores))
        return BatchDependence(updates, *changes)

    def _scores(self, rows: Host, training: bool) -> Floats:
        self._step.take(rows, augment=False)
        scores = self._step.forward(training=training)
        return np.asarray(self._network.backend.to_host(scores), np.float64)


def _relative_change(scores: Floats) -> float:
    """Return the change of the first example's scores (examples, 2, batch, classes), relative.

    The spread of the scores is that of all examples of the first batches, around their mean.
    """
    change = float(np.sqrt(np.mean(np.square(scores[:, 0, 0] - scores[:, 1, 0]))))
    first = scores[:, 0].reshape(-1, scores.shape[-1])
    spread = float(np.sqrt(first.var(axis=0).mean()))
    return float(np.divide(change, spread)) if change else 0.0
