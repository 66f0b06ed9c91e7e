"""Inverted dropout (Srivastava et al., 2014): the scaling is done in training."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.backends.base import Array
from engine.errors import require
from engine.layers.base import Bound, Layer, Scope, Shape, layers


@layers.register("dropout")
@dataclass(frozen=True)
class Dropout(Layer):
    """y = x · mask / (1 − rate) with P(mask = 1) = 1 − rate; y = x at evaluation.

    The rate is the hyper-parameter "dropout", one for the whole network, which can change during
    training. Masks are drawn on the host, so that a run has the same ones on every back-end.
    """

    kind: ClassVar = "dropout"
    rate: float = 0.5  # share of the values that is dropped

    def __post_init__(self) -> None:
        require(0 <= self.rate < 1, "rate", f"must be in [0, 1), is {self.rate}")

    @property
    def by_rows(self) -> bool:
        return False  # masks are drawn from one stream, in the order of the examples

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, xp, hyper = scope.backend, scope.backend.xp, scope.hyper
        hyper.setdefault("dropout", self.rate)
        y, dx, factor = scope.output(x), scope.input_gradient(x), scope.buffer("factor", x)
        drawn = np.empty((scope.batch, *x), np.float32)

        def forward(x: Array, training: bool) -> Array:
            rate = hyper["dropout"] if training else 0.0
            if rate == 0:
                factor.fill(1)
            else:
                scope.noise.random(out=drawn, dtype=np.float32)
                np.greater_equal(drawn, rate, out=drawn)
                np.multiply(drawn, 1 / (1 - rate), out=drawn)
                factor[...] = backend.to_device(drawn)
            xp.multiply(x, factor, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            xp.multiply(dy, factor, out=dx)
            return dx

        return Bound(forward, backward, y, dx)
