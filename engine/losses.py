"""Losses of scores and labels, with their gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from engine.activations.special import above_zero
from engine.backends import NumPyBackend
from engine.backends.base import Array, Backend
from engine.errors import require
from engine.layers.base import Shape
from engine.registry import Registry

losses: Registry["Loss"] = Registry("loss")


@dataclass(frozen=True, slots=True)
class BoundLoss:
    """A loss bound to buffers for one batch shape."""

    forward: Callable[[Array, Array], float]
    """(scores, labels) → mean loss over the batch; scores (batch, classes), labels (batch,)."""
    backward: Callable[[], Array]
    """→ dL/dscores of the last forward pass, which is `score_gradient`."""
    score_gradient: Array


@dataclass(frozen=True)
class Loss:
    """A frozen description; `bind` returns the functions that compute it."""

    chance_formula: ClassVar[str] = ""  # of `chance`: "ln C"

    def chance(self, classes: int) -> float:
        """Return the loss of guessing: all scores are 0, so that every class is equally likely."""
        backend = NumPyBackend("float64")
        forward = self.bind((classes,), classes, backend).forward
        return forward(np.zeros((classes, classes)), np.arange(classes))

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        """Allocate buffers for `batch` score vectors of shape `scores`."""
        raise NotImplementedError


def one_hot(classes: int, backend: Backend) -> Array:
    """Return (classes, classes); row k is the one-hot target of label k."""
    table = backend.full((classes, classes), 0.0)
    backend.xp.fill_diagonal(table, 1.0)
    return table


@losses.register("softmax_cross_entropy")
@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """−Σ target · log softmax(scores), averaged over the batch; dscores = (softmax − target) / N.

    The target of an example is 1 − ε at its label plus ε/C at every class, with ε the
    `label_smoothing` (Szegedy et al., 2016). The maximum is subtracted from the scores, so that no
    exponential overflows. The classes lie along the first axis: sums over a short last axis are
    several times slower.
    """

    chance_formula: ClassVar = "ln C"
    label_smoothing: float = 0.0  # share of the target spread over all classes

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        require(0 <= smoothing < 1, "label_smoothing", f"must be in [0, 1), is {smoothing}")

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        xp, (classes,), smoothing = backend.xp, scores, self.label_smoothing
        dscores = backend.empty((batch, classes))
        fixed = dscores, batch, classes, smoothing
        compiled = backend.kernel("softmax_cross_entropy", *fixed, sizes=[dscores.size, batch])
        if compiled is not None:
            return BoundLoss(compiled, lambda: dscores, dscores)
        log_p, p = (backend.empty((classes, batch)) for _ in range(2))
        target, row = backend.empty((batch, classes)), backend.empty((batch,))
        targets = one_hot(classes, backend)
        targets *= 1 - smoothing
        targets += smoothing / classes

        def forward(scores: Array, labels: Array) -> float:
            xp.copyto(log_p, scores.T)
            log_p.max(axis=0, out=row)
            xp.subtract(log_p, row, out=log_p)
            xp.exp(log_p, out=p)
            p.sum(axis=0, out=row)
            xp.divide(p, row, out=p)
            xp.log(row, out=row)
            xp.subtract(log_p, row, out=log_p)
            backend.take_rows(targets, labels, target)
            xp.multiply(log_p, target.T, out=log_p)
            return -float(log_p.sum()) / batch

        def backward() -> Array:
            xp.subtract(p.T, target, out=dscores)
            xp.divide(dscores, batch, out=dscores)
            return dscores

        return BoundLoss(forward, backward, dscores)


@losses.register("multiclass_svm")
@dataclass(frozen=True)
class MulticlassSVM(Loss):
    """Σ max(0, s_j − s_label + margin) over the other classes j, averaged over the batch.

    The lecture's hinge loss (Weston and Watkins, 1999). PyTorch's MultiMarginLoss is this divided
    by the number of classes.
    """

    chance_formula: ClassVar = "(C − 1) · margin"
    margin: float = 1.0  # by which the right score must lead

    def __post_init__(self) -> None:
        good = self.margin > 0 and isfinite(self.margin)
        require(good, "margin", f"must be positive, is {self.margin}")

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        xp, (classes,) = backend.xp, scores
        hinge, target, dscores = (backend.empty((batch, classes)) for _ in range(3))
        column, per_example = backend.empty((batch, 1)), backend.empty((batch,))
        targets = one_hot(classes, backend)

        def forward(scores: Array, labels: Array) -> float:
            backend.take_rows(targets, labels, target)
            xp.multiply(scores, target, out=hinge)
            xp.sum(hinge, axis=1, keepdims=True, out=column)
            xp.subtract(scores, column, out=hinge)
            xp.add(hinge, self.margin, out=hinge)
            above_zero(xp, hinge, hinge)
            xp.subtract(1, target, out=dscores)
            xp.multiply(hinge, dscores, out=hinge)  # the label has no hinge
            xp.sum(hinge, axis=1, out=per_example)
            return float(xp.mean(per_example))

        def backward() -> Array:
            xp.sign(hinge, out=dscores)
            xp.sum(dscores, axis=1, keepdims=True, out=column)
            xp.multiply(target, column, out=hinge)
            xp.subtract(dscores, hinge, out=dscores)
            xp.divide(dscores, batch, out=dscores)
            return dscores

        return BoundLoss(forward, backward, dscores)


@losses.register("mean_squared_error")
@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """(score − target)² with one-hot targets, averaged over the batch and the classes."""

    chance_formula: ClassVar = "1/C"

    def bind(self, scores: Shape, batch: int, backend: Backend) -> BoundLoss:
        xp, (classes,) = backend.xp, scores
        error, square = (backend.empty((batch, classes)) for _ in range(2))
        targets = one_hot(classes, backend)

        def forward(scores: Array, labels: Array) -> float:
            backend.take_rows(targets, labels, error)
            xp.subtract(scores, error, out=error)
            xp.multiply(error, error, out=square)
            return float(xp.mean(square))

        def backward() -> Array:
            xp.multiply(error, 2 / (batch * classes), out=error)
            return error

        return BoundLoss(forward, backward, error)
