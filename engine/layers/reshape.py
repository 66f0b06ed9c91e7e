"""Layers that only change the shape."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from engine.backends.base import Array
from engine.errors import ShapeError, require
from engine.layers.base import Bound, Layer, Scope, Shape, layers


@layers.register("flatten")
@dataclass(frozen=True)
class Flatten(Layer):
    """(batch, *shape) → (batch, features)."""

    kind: ClassVar = "flatten"
    flattens: ClassVar = True

    def output_shape(self, x: Shape) -> Shape:
        return (prod(x),)

    def bind(self, x: Shape, scope: Scope) -> Bound:
        # Copied, because probes and the next layer read one and the same array at every step.
        y, dx = scope.output((prod(x),)), scope.input_gradient(x)
        xp = scope.backend.xp

        def forward(x: Array, training: bool) -> Array:
            xp.copyto(y, x.reshape(y.shape))
            return y

        def backward(x: Array, dy: Array) -> Array:
            xp.copyto(dx, dy.reshape(dx.shape))
            return dx

        return Bound(forward, backward, y, dx)


@layers.register("image")
@dataclass(frozen=True)
class Image(Layer):
    """Flat planes (channels · height · width) → images (height, width, channels).

    Data sets store the planes of an image one after the other; convolutions take channels last.
    """

    kind: ClassVar = "image"
    channels: int  # of the image
    height: int  # in pixels
    width: int  # in pixels

    def __post_init__(self) -> None:
        for key in ("channels", "height", "width"):
            value = getattr(self, key)
            require(value >= 1, key, f"must be at least 1, is {value}")

    def output_shape(self, x: Shape) -> Shape:
        if x != (self.channels * self.height * self.width,):
            raise ShapeError(
                f"{self.channels}×{self.height}×{self.width} pixels are not an input of {x}"
            )
        return (self.height, self.width, self.channels)

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp = scope.backend.xp
        y, dx = scope.output(self.output_shape(x)), scope.input_gradient(x)
        planes = (-1, self.channels, self.height, self.width)

        def forward(x: Array, training: bool) -> Array:
            xp.copyto(y, x.reshape(planes).transpose(0, 2, 3, 1))
            return y

        def backward(x: Array, dy: Array) -> Array:
            xp.copyto(dx.reshape(planes), dy.transpose(0, 3, 1, 2))
            return dx

        return Bound(forward, backward, y, dx)
