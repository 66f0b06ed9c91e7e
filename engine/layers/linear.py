"""The fully connected layer."""

from dataclasses import dataclass, field
from typing import ClassVar

from engine.backends.base import Array
from engine.errors import ShapeError, require
from engine.initializers import Initializer, Xavier
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers, weight_and_bias
from engine.statistics.frames import FirstWeights


@layers.register("linear")
@dataclass(frozen=True)
class Linear(Layer):
    """y = x W + b with x (batch, inputs), W (inputs, units), b (units,).

    Backwards: dW = xᵀ dy, db = Σ dy over the batch, dx = dy Wᵀ.
    """

    kind: ClassVar = "linear"
    weighted: ClassVar = True
    units: int
    initializer: Initializer = field(default_factory=Xavier)
    bias: float | None = 0.0  # the first value of every b; None: there is no b

    def __post_init__(self) -> None:
        require(self.units >= 1, "units", f"must be at least 1, is {self.units}")

    def output_shape(self, x: Shape) -> Shape:
        if len(x) != 1:
            raise ShapeError(f"a linear layer takes a flat input (features,), not {x}")
        return (self.units,)

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        return weight_and_bias(
            (x[0], self.units), self.initializer, self.bias, fan_in=x[0], fan_out=self.units
        )

    def first_weights(self, x: Shape) -> FirstWeights | None:
        std = self.initializer.std_for(x[0], self.units)
        return None if std is None else FirstWeights(x[0], self.units, std, self.bias or 0.0)

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp = scope.backend.xp
        W, dW = scope.parameters["weight"], scope.gradients["weight"]
        b, db = scope.parameters.get("bias"), scope.gradients.get("bias")
        y = scope.buffer((self.units,))
        dx = scope.gradient(x) if scope.input_gradient else scope.backend.empty((0, *x))
        ones = scope.ones()
        later = scope.shard is not None and scope.shard.later
        last: list[Array] = [None]  # the input of the last forward pass

        def forward(x: Array, training: bool) -> Array:
            last[0] = x
            xp.matmul(x, W, out=y)
            if b is not None:
                xp.add(y, b, out=y)
            return y

        def fill(x: Array, dy: Array, dW: Array, db: Array) -> None:
            xp.matmul(x.T, dy, out=dW)
            if db is not None:
                xp.matmul(ones, dy, out=db)

        def weigh(x: Array, dy: Array, units: slice) -> None:
            fill(x, dy[:, units], dW[:, units], None if db is None else db[units])

        def backward(dy: Array) -> Array:
            if not later:
                fill(last[0], dy, dW, db)
            if scope.input_gradient:
                xp.matmul(dy, W.T, out=dx)
            return dx

        return Bound(forward, backward, y, dx, weigh=weigh)
