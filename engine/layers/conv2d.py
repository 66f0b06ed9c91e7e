"""Convolution over images, channels last, as a few matrix products."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine.backends.base import Array, Backend
from engine.errors import ShapeError, require
from engine.initializers import Initializer, Xavier
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers, weight_and_bias


def window_count(length: int, kernel: int, stride: int, padding: int) -> int:
    """Return how many windows of `kernel` fit along an axis; 0 or less where none does."""
    return (length + 2 * padding - kernel) // stride + 1


def window_rows(xp: Any, images: Array, kernel: int, stride: int) -> Array:
    """View (batch, H, W, C) as the windows along its width: (batch, H, out width, kernel · C).

    With channels last, the values of a window along one row of pixels lie side by side.
    """
    n, y, x, c = images.strides
    batch, height, width, channels = images.shape
    shape = (batch, height, window_count(width, kernel, stride, 0), kernel * channels)
    return xp.lib.stride_tricks.as_strided(images, shape, (n, y, x * stride, c))


class Correlation:
    """y[n, i, j] = Σ_u rows[n, i s + u, j] · K[u], over `rows` as `window_rows` gives them.

    This is one matrix product for each row u of the kernel. `rows` holds every pixel `kernel`
    times; copying whole windows would hold it `kernel`² times.
    """

    def __init__(
        self, backend: Backend, batch: int, rows: Shape, kernel: int, stride: int, filters: int
    ) -> None:
        """Work on `batch` images of rows (height, out width, kernel · channels)."""
        self._xp, self._kernel, self._stride = backend.xp, kernel, stride
        self._height = window_count(rows[0], kernel, stride, 0)
        self._part = backend.empty((batch, self._height, rows[1], filters))

    def seen(self, rows: Array, u: int) -> Array:
        """View `rows` as those that row `u` of the kernel meets, (batch, out height, width, ·)."""
        return rows[:, u : u + self._stride * self._height : self._stride][:, : self._height]

    def __call__(self, rows: Array, kernels: Array, y: Array) -> None:
        """Write y (batch, out height, out width, filters); kernels (kernel, ·, filters)."""
        part, y = self._matrices(self._part[: len(y)]), self._matrices(y)
        self._xp.matmul(self._matrices(self.seen(rows, 0)), kernels[0], out=y)
        for u in range(1, self._kernel):
            self._xp.matmul(self._matrices(self.seen(rows, u)), kernels[u], out=part)
            self._xp.add(y, part, out=y)

    def _matrices(self, images: Array) -> Array:
        """View (batch, height, width, ·) as one matrix an image, unless a stride parts its rows."""
        if self._stride > 1:
            return images
        return images.reshape(len(images), -1, images.shape[3])


@layers.register("conv2d")
@dataclass(frozen=True)
class Conv2d(Layer):
    """y[n, i, j, f] = b[f] + Σ x[n, i s + u, j s + v, c] W[u, v, c, f]; cross-correlation.

    x is (batch, height, width, channels) and W has the shape (kernel · kernel · channels, filters).
    Backwards, dx is a correlation of dy with the kernels rotated by 180°. Both work on a block of
    images at a time, so that the windows stay in the cache.
    """

    kind: ClassVar = "conv2d"
    weighted: ClassVar = True
    over_images: ClassVar = True
    filters: int  # number of output channels
    kernel: int = 3  # side of the square window
    stride: int = 1  # step between windows
    padding: int = 0  # zeros around the image
    initializer: Initializer = field(default_factory=Xavier)  # rule that draws the weights
    bias: float | None = 0.0  # initial value of every b; None: no b

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
        backend, xp, n = scope.backend, scope.backend.xp, scope.batch
        k, s, p, (height, width, channels) = self.kernel, self.stride, self.padding, x
        W, dW = scope.parameters["weight"], scope.gradients["weight"]
        b, db = scope.parameters.get("bias"), scope.gradients.get("bias")
        kernels = W.reshape(k, k * channels, self.filters)
        out = self.output_shape(x)
        y, dx = scope.output(out), scope.input_gradient(x)
        padded_shape = height + 2 * p, width + 2 * p, channels
        block = min(n, max(1, backend.block // (padded_shape[0] * out[1] * k * channels)))
        blocks = [slice(start, start + block) for start in range(0, n, block)]
        padded = backend.full((block, *padded_shape), 0.0)
        inner, windows = padded[:, p : p + height, p : p + width], window_rows(xp, padded, k, s)
        rows = scope.buffer("rows", windows.shape[1:])
        correlate = Correlation(backend, block, rows.shape[1:], k, s, self.filters)
        to_weights = WeightGradient(correlate, dW.reshape(kernels.shape), block, backend)
        to_input = InputGradient(self, x, out, block, backend) if len(dx) else None
        ones = backend.full((n * out[0] * out[1],), 1.0)

        def forward(x: Array, training: bool) -> Array:
            for at in blocks:
                images = x[at]
                xp.copyto(inner[: len(images)], images)
                xp.copyto(rows[at], windows[: len(images)])
                correlate(rows[at], kernels, y[at])
            if b is not None:
                xp.add(y, b, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            dW.fill(0)
            for at in blocks:
                to_weights.add(rows[at], dy[at])
            if db is not None:
                xp.matmul(ones, dy.reshape(-1, self.filters), out=db)
            if to_input is not None:
                to_input.flip(kernels)
                for at in blocks:
                    to_input(dy[at], dx[at])
            return dx

        return Bound(forward, backward, y, dx)


class WeightGradient:
    """dK[u] = Σ rows[n, i s + u]ᵀ dy[n, i] over the images n and the rows i of the output."""

    def __init__(
        self, correlation: Correlation, d_kernels: Array, block: int, backend: Backend
    ) -> None:
        """Fill `d_kernels` (kernel, kernel · channels, filters), `block` images at a time."""
        self._xp, self._correlation, self._d_kernels = backend.xp, correlation, d_kernels
        self._of_each = backend.empty((block, *d_kernels.shape[1:]))
        self._sum = backend.empty(d_kernels.shape[1:])

    def add(self, rows: Array, dy: Array) -> None:
        """Add the gradient of some images."""
        images, (values, filters) = len(dy), self._sum.shape
        slopes, part = dy.reshape(images, -1, filters), self._of_each[:images]
        for u, d_kernel in enumerate(self._d_kernels):
            seen = self._correlation.seen(rows, u).reshape(images, -1, values)
            self._xp.matmul(seen.transpose(0, 2, 1), slopes, out=part)
            self._xp.sum(part, axis=0, out=self._sum)
            self._xp.add(d_kernel, self._sum, out=d_kernel)


class InputGradient:
    """dx[r] = Σ_u D[r + u] W[k − 1 − u], with dy as far apart in D as the stride says."""

    def __init__(self, layer: Conv2d, x: Shape, out: Shape, block: int, backend: Backend) -> None:
        k, s, p, self._xp = layer.kernel, layer.stride, layer.padding, backend.xp
        height, width, channels = x
        spread = backend.full(
            (block, height + 2 * p + k - 1, width + 2 * p + k - 1, layer.filters), 0.0
        )
        first = k - 1
        self._inner = spread[:, first : first + s * out[0] : s, first : first + s * out[1] : s]
        self._seen = window_rows(
            self._xp, spread[:, p : p + height + first, p : p + width + first], k, 1
        )
        self._rows = backend.empty(self._seen.shape)
        self._kernels = backend.empty((k, k * layer.filters, channels))
        self._correlate = Correlation(backend, block, self._rows.shape[1:], k, 1, channels)

    def flip(self, kernels: Array) -> None:
        """Take the kernels (kernel, kernel · channels, filters), rotated by 180°."""
        k, _, channels = self._kernels.shape
        flipped = kernels.reshape(k, k, channels, -1)[::-1, ::-1].transpose(0, 1, 3, 2)
        self._xp.copyto(self._kernels.reshape(flipped.shape), flipped)

    def __call__(self, dy: Array, dx: Array) -> None:
        """Write dx of some images from their dy."""
        self._xp.copyto(self._inner[: len(dy), : dy.shape[1], : dy.shape[2]], dy)
        rows = self._rows[: len(dy)]
        self._xp.copyto(rows, self._seen[: len(dy)])
        self._correlate(rows, self._kernels, dx)
