"""ReLU with a learned slope (He et al., 2015; lecture 6, "activation functions")."""

from dataclasses import dataclass
from math import isfinite, prod
from typing import ClassVar

import numpy as np

from engine.activations.piecewise import step_at_zero
from engine.activations.special import above_zero, below_zero
from engine.backends.base import Array
from engine.errors import require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers


@layers.register("prelu")
@dataclass(frozen=True)
class PReLU(Layer):
    """y = x for x > 0, else a x, with one learned a for the layer or one per unit.

    a begins at `slope` and is exempt from weight decay, which would turn it into ReLU.
    Backwards: dx = dy where x > 0, else a dy; da = Σ dy min(x, 0) over the batch (and the units).
    """

    kind: ClassVar = "prelu"
    activates: ClassVar = True
    slope: float = 0.25  # initial slope of the negative side
    per_unit: bool = False  # a slope for each unit, not one per layer

    def __post_init__(self) -> None:
        require(isfinite(self.slope), "slope", f"must be finite, is {self.slope}")

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        shape = x if self.per_unit else (1,)
        return {"slope": Parameter(shape, lambda _: np.full(shape, self.slope, np.float64))}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp, units = scope.backend.xp, prod(x)
        a, da = scope.parameters["slope"], scope.gradients["slope"]
        y, dx = scope.output(x), scope.input_gradient(x)
        below, scratch = scope.buffer("below", x), scope.buffer("scratch", x)
        flat, ones = scratch.reshape(scope.batch, units), scope.ones()
        row = da.reshape(units) if self.per_unit else scope.backend.empty((units,))

        def forward(x: Array, training: bool) -> Array:
            below_zero(xp, x, below)
            xp.multiply(below, a, out=scratch)
            above_zero(xp, x, y)
            xp.add(y, scratch, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            xp.multiply(dy, below, out=scratch)
            xp.matmul(ones, flat, out=row)
            if not self.per_unit:
                xp.sum(row, keepdims=True, out=da)
            step_at_zero(xp, x, dx)
            xp.subtract(1, dx, out=scratch)
            xp.multiply(scratch, a, out=scratch)
            xp.add(dx, scratch, out=dx)
            xp.multiply(dx, dy, out=dx)
            return dx

        return Bound(forward, backward, y, dx)
