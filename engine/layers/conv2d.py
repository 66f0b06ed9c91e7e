"""Convolution over images, channels last, as one matrix product."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine.backend import Array
from engine.errors import ShapeError, require
from engine.initializers import Initializer, Xavier
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers, weight_and_bias


def window_count(length: int, kernel: int, stride: int, padding: int) -> int:
    """Return how many windows of `kernel` fit along an axis; 0 or less where none does."""
    return (length + 2 * padding - kernel) // stride + 1


def windows(xp: Any, padded: Array, kernel: int, stride: int, out: tuple[int, int]) -> Array:
    """View (batch, H, W, C) as its windows (batch, out height, out width, kernel, kernel, C)."""
    n, y, x, c = padded.strides
    shape = (len(padded), *out, kernel, kernel, padded.shape[3])
    strides = (n, y * stride, x * stride, y, x, c)
    return xp.lib.stride_tricks.as_strided(padded, shape, strides)


@layers.register("conv2d")
@dataclass(frozen=True)
class Conv2d(Layer):
    """y[n, i, j, f] = b[f] + Σ x[n, i s + u, j s + v, c] W[u, v, c, f]; cross-correlation.

    x is (batch, height, width, channels) and W is kept as (kernel · kernel · channels, filters).
    The windows are copied side by side into one matrix (im2col), so that forwards and both
    gradients are three matrix products. With channels last, the product is already the output, and
    a run of `kernel · channels` values of a window is contiguous.
    """

    kind: ClassVar = "conv2d"
    weighted: ClassVar = True
    over_images: ClassVar = True
    filters: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    initializer: Initializer = field(default_factory=Xavier)
    bias: float | None = 0.0  # the first value of every b; None: there is no b

    def __post_init__(self) -> None:
        for key in ("filters", "kernel", "stride"):
            value = getattr(self, key)
            require(value >= 1, key, f"must be at least 1, is {value}")
        require(self.padding >= 0, "padding", f"must not be negative, is {self.padding}")

    def output_shape(self, x: Shape) -> Shape:
        if len(x) != 3:
            raise ShapeError(f"conv2d takes images (height, width, channels), not {x}")
        size = [window_count(n, self.kernel, self.stride, self.padding) for n in x[:2]]
        if min(size) < 1:
            raise ShapeError(f"a kernel of {self.kernel} does not fit into images of {x[:2]}")
        return (*size, self.filters)

    def sees(self, x: Shape) -> Shape:
        return (self.kernel, self.kernel, x[2])

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        area = self.kernel * self.kernel
        fan_in, fan_out = area * x[2], area * self.filters
        return weight_and_bias(
            (fan_in, self.filters), self.initializer, self.bias, fan_in=fan_in, fan_out=fan_out
        )

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, xp, n, p = scope.backend, scope.backend.xp, scope.batch, self.padding
        height, width, _ = self.output_shape(x)
        W, dW = scope.parameters["weight"], scope.gradients["weight"]
        b, db = scope.parameters.get("bias"), scope.gradients.get("bias")
        padded = backend.full((n, x[0] + 2 * p, x[1] + 2 * p, x[2]), 0.0)
        inner = padded[:, p : p + x[0], p : p + x[1]]
        seen = windows(xp, padded, self.kernel, self.stride, (height, width))
        columns = backend.empty((n * height * width, W.shape[0]))
        y = scope.buffer((height, width, self.filters))
        dx = scope.gradient(x) if scope.input_gradient else backend.empty((0, *x))
        flat_y, ones = y.reshape(-1, self.filters), backend.full((len(columns),), 1.0)

        def forward(x: Array, training: bool) -> Array:
            xp.copyto(inner, x)
            xp.copyto(columns.reshape(seen.shape), seen)
            xp.matmul(columns, W, out=flat_y)
            if b is not None:
                xp.add(flat_y, b, out=flat_y)
            return y

        def backward(dy: Array) -> Array:
            flat_dy = dy.reshape(-1, self.filters)
            xp.matmul(columns.T, flat_dy, out=dW)
            if db is not None:
                xp.matmul(ones, flat_dy, out=db)
            if scope.input_gradient:
                # The columns are not needed again before the next forward pass.
                xp.matmul(flat_dy, W.T, out=columns)
                self._scatter(xp, columns.reshape(seen.shape), padded, inner, dx)
            return dx

        return Bound(forward, backward, y, dx)

    def _scatter(self, xp: Any, from_: Array, padded: Array, inner: Array, dx: Array) -> None:
        """Add each window's gradient to where it came from; a kernel position at a time."""
        height, width = from_.shape[1:3]
        padded.fill(0)
        for u in range(self.kernel):
            for v in range(self.kernel):
                rows = slice(u, u + self.stride * height, self.stride)
                columns = slice(v, v + self.stride * width, self.stride)
                target = padded[:, rows, columns][:, :height, :width]
                xp.add(target, from_[:, :, :, u, v], out=target)
        xp.copyto(dx, inner)
        padded.fill(0)  # the border must be zero again; the inside is written in forward
