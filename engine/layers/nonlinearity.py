"""The layer that applies an activation function."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from engine.activations import Activation, ReLU
from engine.backends.base import Array
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
        ahead, back = f.kernels

        def f_of(x: Array) -> None:
            f.forward(backend, x, y, scratch)

        def slope_of(dy: Array) -> None:
            f.backward(backend, last[0], y, dy, dx, scratch)

        apply: Callable[[Array], None] = f_of
        differentiate: Callable[[Array], None] = slope_of
        if ahead:
            apply = backend.kernel(ahead, y, y.size, sizes=[y.size]) or apply
        if back:
            differentiate = backend.kernel(back, dx, y, dx.size, sizes=[dx.size]) or differentiate

        def forward(x: Array, training: bool) -> Array:
            last[0] = x
            apply(x)
            return y

        def backward(dy: Array) -> Array:
            differentiate(dy)
            return dx

        return Bound(forward, backward, y, dx)
