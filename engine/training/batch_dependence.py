"""How much the scores of an example depend on the others in its batch.

With batch normalisation they do in training, for mean and variance are those of the batch: that is
noise, the more the smaller the batch. At evaluation they must not (lecture 6, "batch
normalization").
"""

from typing import Final

import numpy as np

from engine.backends.base import Host
from engine.statistics.frames import BatchDependence, Floats
from engine.training.training_step import TrainingStep

EXAMPLES: Final = 8
"""Examples whose scores are looked at, each in two batches: enough for a number good to a sixth."""


class BatchDependenceProbe:
    """Measures a training step's network; leaves weights, averages and noise as they were."""

    def __init__(self, step: TrainingStep, examples: int) -> None:
        """Choose what to look at among so many training examples: the same at every call."""
        self._step, self._network = step, step.network
        batch = step.network.batch_shape[0]
        generator = np.random.default_rng(0)
        self._batches = []
        for example in generator.permutation(examples)[:EXAMPLES]:
            others = np.delete(np.arange(examples), example)
            rest = (generator.permutation(others)[: batch - 1] for _ in range(2))
            self._batches.append([np.concatenate([[example], each]) for each in rest])

    def __call__(self, updates: int) -> BatchDependence:
        """Measure after so many updates; 0 for a network that keeps no averages of batches."""
        if not self._network.store.state.size:
            return BatchDependence(updates, 0.0, 0.0)
        found = []
        shape = (len(self._batches), 2, *self._network.bound[-1].output.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for training in (True, False):
                scores = np.empty(shape)
                for row, column in np.ndindex(shape[:2]):
                    with self._network.undisturbed():  # and by the same dropout masks
                        rows = self._batches[row][column]
                        scores[row, column] = self._scores(rows, training)
                found.append(_relative_change(scores))
        return BatchDependence(updates, *found)

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
