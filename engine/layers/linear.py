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
    units: int  # number of outputs
    initializer: Initializer = field(default_factory=Xavier)  # rule that draws the weights
    bias: float | None = 0.0  # initial value of every b; None: no b

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
        W, b = scope.parameters["weight"], scope.parameters.get("bias")
        gradients = [scope.gradients[name] for name in self.parameters(x)]
        y, dx = scope.output((self.units,)), scope.input_gradient(x)
        ones = scope.ones()

        def forward(x: Array, training: bool) -> Array:
            xp.matmul(x, W, out=y)
            if b is not None:
                xp.add(y, b, out=y)
            return y

        def weight_gradient(x: Array, dy: Array, dW: Array, db: Array = None) -> None:
            xp.matmul(x.T, dy, out=dW)
            if db is not None:
                xp.matmul(ones, dy, out=db)

        def backward(x: Array, dy: Array) -> Array:
            xp.matmul(dy, W.T, out=dx)
            return dx

        return Bound(forward, backward, y, dx, weight_gradient=weight_gradient, gradients=gradients)
