"""One step of training: gather a batch, forwards, backwards, update. Allocates no arrays."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from engine.backends.base import Array, Backend, Host
from engine.data.augment import Change
from engine.data.dataset import Examples
from engine.layers.base import start_row
from engine.losses import Loss
from engine.network.network import BoundNetwork
from engine.optimization.freezing import Frozen
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import Optimizer
from engine.optimization.regularization import Clipping, MaxNorm, Penalty
from engine.training.probes import Probes


@dataclass(frozen=True, slots=True)
class StepResult:
    """Of one batch, before its update: the whole loss, its data part, and the accuracy."""

    loss: float
    data_loss: float
    accuracy: float


class TrainingStep:
    """Binds network, loss, optimiser and training data: `take`, `gradients`, `update` in turn."""

    def __init__(
        self,
        network: BoundNetwork,
        loss: Loss,
        optimizer: Optimizer,
        hyper: Hyperparameters,
        examples: Examples,
        *,
        probes: bool,
        augment: Change | None = None,
        frozen: Collection[int] = (),
    ) -> None:
        backend, batch = network.backend, network.batch_shape[0]
        scores = network.bound[-1].output
        self.network, self._backend, self.hyper = network, backend, hyper
        self.x = backend.to_device(examples.x)
        self.y = backend.to_device(examples.y)
        self.batch_x = backend.empty((batch, *examples.x.shape[1:]))
        self.batch_y = backend.empty((batch,), np.int64)
        self._augment, self._input = augment, self.batch_x
        self.loss_kind, self.optimizer_kind = loss, optimizer
        self._loss = loss.bind(scores.shape[1:], batch, backend)
        self._accuracy = bind_accuracy(batch, backend)
        self._penalty = Penalty(network, hyper, l2=not optimizer.decoupled)
        self._clip, self._limit = Clipping(network, hyper), MaxNorm(network, hyper)
        self.optimizer = optimizer.bind(network.store, hyper, backend)
        self.frozen = Frozen(network, frozen, self.optimizer.state)
        self.probes = Probes(network, self.score_gradient, lambda: self._input) if probes else None

    @property
    def augments(self) -> bool:
        """Whether it changes the images that it trains on."""
        return self._augment is not None

    @property
    def score_gradient(self) -> Array:
        """dL/dscores (batch, classes) of the last step."""
        return self._loss.score_gradient

    @property
    def arrays(self) -> dict[str, Array]:
        """What a checkpoint must save: parameters, running averages, the optimiser's, units'."""
        silent = self.probes.dead_units.state if self.probes is not None else {}
        return {
            "parameters": self.network.store.values,
            "running": self.network.store.state,
            **{f"optimizer.{name}": array for name, array in self.optimizer.state.items()},
            **{f"silent.{name}": array for name, array in silent.items()},
        }

    def take(self, examples: Host, *, augment: bool = True) -> None:
        """Gather the batch of these training examples (batch,), as they are or augmented."""
        order = self._backend.xp.asarray(examples)
        self._backend.take_rows(self.x, order, self.batch_x)
        self._backend.take_rows(self.y, order, self.batch_y)
        self._input = self.batch_x
        if augment and self._augment is not None:
            self._input = self._augment(self.batch_x)

    def forward(self, *, training: bool = True) -> Array:
        """Run the gathered batch forwards; return the scores (batch, classes)."""
        return self.network.forward(self._input, training)

    def start(self) -> None:
        """Let layers that start from data set their parameters by the gathered batch."""
        start_row(self.network.bound, self._input)

    def gradients(self) -> StepResult:
        """Fill the gradients of the whole loss at the gathered batch."""
        scores = self.forward()
        data_loss = self._loss.forward(scores, self.batch_y)
        accuracy = self._accuracy(scores, self.batch_y)
        self.network.backward(self._loss.backward())
        return StepResult(data_loss + self._penalty(), data_loss, accuracy)

    def update(self) -> None:
        """Change the parameters by the gradients, clipped, and hold them to their limit."""
        self.frozen.keep()
        self._clip()
        self.optimizer.update()
        self._limit()
        self.frozen.put_back()


def bind_accuracy(batch: int, backend: Backend) -> Callable[[Array, Array], float]:
    """Return (scores, labels) → the share of examples whose highest score is their label's."""
    xp = backend.xp
    compiled = backend.kernel("right_answers", batch)
    if compiled is not None:
        return lambda scores, labels: compiled(scores.shape[1], scores, labels) / batch
    best, right = backend.empty((batch,), np.int64), backend.empty((batch,), np.bool_)

    def accuracy(scores: Array, labels: Array) -> float:
        xp.argmax(scores, axis=1, out=best)
        xp.equal(best, labels, out=right)
        return int(xp.count_nonzero(right)) / batch

    return accuracy
