"""The layer that applies an elementwise activation."""

from dataclasses import dataclass, field
from typing import ClassVar

from engine.activations import Activation, ReLU
from engine.backends.base import Array
from engine.layers.base import Bound, Layer, Scope, Shape, layers


@layers.register("activation")
@dataclass(frozen=True)
class Nonlinearity(Layer):
    """y = f(x) elementwise; backwards dx = dy · f′(x)."""

    kind: ClassVar = "activation"
    activation: Activation = field(default_factory=ReLU)  # name of the function

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, f = scope.backend, self.activation
        y, dx = scope.output(x), scope.input_gradient(x)
        scratch = [scope.buffer(f"scratch {i}", x) for i in range(f.scratch)]
        ahead, back = f.kernels
        forward_kernel = backend.kernel(ahead, y, y.size, sizes=[y.size]) if ahead else None
        backward_kernel = backend.kernel(back, dx, y, dx.size, sizes=[dx.size]) if back else None

        def forward(x: Array, training: bool) -> Array:
            if forward_kernel is not None:
                forward_kernel(x)
            else:
                f.forward(backend, x, y, scratch)
            return y

        def backward(x: Array, dy: Array) -> Array:
            if backward_kernel is not None:
                backward_kernel(dy)
            else:
                f.backward(backend, x, y, dy, dx, scratch)
            return dx

        return Bound(forward, backward, y, dx)
