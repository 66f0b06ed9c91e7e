"""Pooling over images, channels last."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.backends.base import Array
from engine.errors import ShapeError, require
from engine.layers.base import Bound, Layer, Scope, Shape, layers
from engine.layers.conv2d import window_count


@dataclass(frozen=True)
class _Pool2d(Layer):
    """Pools windows of `size` × `size`, `stride` apart (0: `size`, without overlap)."""

    over_images: ClassVar = True
    size: int = 2  # side of the square window
    stride: int = 0  # step between windows; 0: `size`

    def __post_init__(self) -> None:
        require(self.size >= 1, "size", f"must be at least 1, is {self.size}")
        require(self.stride >= 0, "stride", f"must not be negative, is {self.stride}")

    def output_shape(self, x: Shape) -> Shape:
        if len(x) != 3:
            raise ShapeError(f"{self.kind} takes images (height, width, channels), not {x}")
        height, width = (window_count(n, self.size, self.stride or self.size, 0) for n in x[:2])
        if min(height, width) < 1:
            raise ShapeError(f"windows of {self.size} do not fit into images of {x[:2]}")
        return (height, width, x[2])

    def cells(self, images: Array, out: Shape) -> list[Array]:
        """Return a view of `images` (batch, H, W, C) for every position in a window."""
        stride = self.stride or self.size
        height, width = out[:2]
        return [
            images[:, u : u + stride * height : stride, v : v + stride * width : stride]
            for u in range(self.size)
            for v in range(self.size)
        ]


@layers.register("max_pool2d")
@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The maximum of each window and channel; in a tie the first gets the gradient."""

    kind: ClassVar = "max_pool2d"

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp, out = scope.backend.xp, self.output_shape(x)
        y, dx = scope.output(out), scope.input_gradient(x)
        share = scope.gradient("share", out)
        taken, free = (scope.gradient(name, out, np.bool_) for name in ("taken", "free"))

        def forward(x: Array, training: bool) -> Array:
            first, *others = self.cells(x, out)
            xp.copyto(y, first)
            for cell in others:
                xp.maximum(y, cell, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            dx.fill(0)
            free.fill(True)
            pairs = zip(self.cells(x, out), self.cells(dx, out), strict=True)
            for cell, target in pairs:
                xp.equal(cell, y, out=taken)
                xp.logical_and(taken, free, out=taken)
                xp.logical_xor(free, taken, out=free)
                xp.multiply(dy, taken, out=share)
                xp.add(target, share, out=target)
            return dx

        return Bound(forward, backward, y, dx)


@layers.register("avg_pool2d")
@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window and channel."""

    kind: ClassVar = "avg_pool2d"

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp, out = scope.backend.xp, self.output_shape(x)
        y, dx = scope.output(out), scope.input_gradient(x)
        share = scope.gradient("share", out)
        weight = 1 / self.size**2

        def forward(x: Array, training: bool) -> Array:
            first, *others = self.cells(x, out)
            xp.copyto(y, first)
            for cell in others:
                xp.add(y, cell, out=y)
            xp.multiply(y, weight, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            dx.fill(0)
            xp.multiply(dy, weight, out=share)
            for target in self.cells(dx, out):
                xp.add(target, share, out=target)
            return dx

        return Bound(forward, backward, y, dx)
