"""Losses: a number from scores and labels, and the gradient of that number."""

from collections.abc import Callable
from dataclasses import dataclass

from engine.backend import Array, Backend
from engine.layers.base import Shape
from engine.registry import Registry

losses: Registry["Loss"] = Registry("loss")


@dataclass(frozen=True, slots=True)
class BoundLoss:
    """A loss bound into buffers for one batch shape."""

    forward: Callable[[Array, Array], float]
    """(scores, labels) → mean loss over the batch; scores (batch, classes), labels (batch,)."""
    backward: Callable[[], Array]
    """→ dL/dscores of the last forward pass, which is `score_gradient`."""
    score_gradient: Array


@dataclass(frozen=True)
class Loss:
    """A frozen description; `bind` returns the closures."""

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        """Allocate buffers for `batch` score vectors of shape `scores`."""
        raise NotImplementedError


@losses.register("softmax_cross_entropy")
@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """−log softmax(scores)[label], averaged over the batch; ln C for C equally likely classes.

    Computed from scores less their maximum, so that no exponential overflows.
    """

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        xp, (classes,) = backend.xp, scores
        log_p, p, target = (backend.empty((batch, classes)) for _ in range(3))
        column, per_example = backend.empty((batch, 1)), backend.empty((batch,))
        one_hot = backend.full((classes, classes), 0.0)
        xp.fill_diagonal(one_hot, 1.0)

        def forward(scores: Array, labels: Array) -> float:
            xp.max(scores, axis=1, keepdims=True, out=column)
            xp.subtract(scores, column, out=log_p)
            xp.exp(log_p, out=p)
            xp.sum(p, axis=1, keepdims=True, out=column)
            xp.divide(p, column, out=p)
            xp.log(column, out=column)
            xp.subtract(log_p, column, out=log_p)
            backend.take_rows(one_hot, labels, target)
            xp.multiply(log_p, target, out=log_p)
            xp.sum(log_p, axis=1, out=per_example)
            return -float(xp.mean(per_example))

        def backward() -> Array:
            xp.subtract(p, target, out=p)
            xp.divide(p, batch, out=p)
            return p

        return BoundLoss(forward, backward, p)
