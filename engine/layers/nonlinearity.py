"""The layer that applies an activation function."""

from dataclasses import dataclass, field
from typing import ClassVar

from engine.activations import Activation, ReLU, activations
from engine.backend import Array
from engine.layers.base import Bound, Layer, Scope, Shape, layers


@layers.register("activation")
@dataclass(frozen=True)
class Nonlinearity(Layer):
    """y = f(x) elementwise; x and y have the shape (batch, *x)."""

    kind: ClassVar = "activation"
    activation: Activation = field(default_factory=ReLU)

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, f = scope.backend, self.activation
        y, dx = scope.buffer(x), scope.gradient(x)
        scratch = [scope.buffer(x) for _ in range(f.scratch)]
        last: list[Array] = [None]  # the input of the last forward pass
        name = activations.name_of(f)
        apply = backend.kernel(f"{name}_forward", y, y.size) or (
            lambda x: f.forward(backend, x, y, scratch)
        )
        lead_back = backend.kernel(f"{name}_backward", dx, y, dx.size) or (
            lambda dy: f.backward(backend, last[0], y, dy, dx, scratch)
        )

        def forward(x: Array, training: bool) -> Array:
            last[0] = x
            apply(x)
            return y

        def backward(dy: Array) -> Array:
            lead_back(dy)
            return dx

        return Bound(forward, backward, y, dx)
