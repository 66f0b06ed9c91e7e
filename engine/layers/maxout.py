"""The largest of several linear pieces (Goodfellow et al., 2013; lecture 6)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.backends.base import Array
from engine.errors import ShapeError, require
from engine.layers.base import Bound, Layer, Scope, Shape, layers


@layers.register("maxout")
@dataclass(frozen=True)
class Maxout(Layer):
    """y_u = max over p of x_(p, u); x (batch, pieces · units), piece after piece for all units.

    After a linear layer, which has `pieces` times the parameters, this is the lecture's
    max(w₁ᵀx + b₁, w₂ᵀx + b₂). Backwards, dy goes to the largest piece, in a tie to the first.
    """

    kind: ClassVar = "maxout"
    activates: ClassVar = True
    pieces: int = 2  # inputs of which a unit passes on the largest

    def __post_init__(self) -> None:
        require(self.pieces >= 2, "pieces", f"must be at least 2, is {self.pieces}")

    @property
    def inputs_per_unit(self) -> int:
        return self.pieces

    def output_shape(self, x: Shape) -> Shape:
        if len(x) != 1 or x[0] % self.pieces:
            raise ShapeError(
                f"maxout with {self.pieces} pieces takes a flat input whose size is a "
                f"multiple of it, not {x}"
            )
        return (x[0] // self.pieces,)

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp, (units,) = scope.backend.xp, self.output_shape(x)
        cuts = [slice(start, start + units) for start in range(0, x[0], units)]
        y, dx = scope.output((units,)), scope.input_gradient(x)
        hit, free = (scope.gradient(name, (units,), np.bool_) for name in ("hit", "free"))

        def forward(x: Array, training: bool) -> Array:
            xp.copyto(y, x[:, cuts[0]])
            for cut in cuts[1:]:
                xp.maximum(y, x[:, cut], out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            free.fill(True)
            for cut in cuts:
                xp.equal(x[:, cut], y, out=hit)
                xp.logical_and(hit, free, out=hit)
                xp.logical_xor(free, hit, out=free)
                xp.multiply(dy, hit, out=dx[:, cut])
            return dx

        return Bound(forward, backward, y, dx)
