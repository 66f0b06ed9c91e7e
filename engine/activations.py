"""Non-linearities: each with its derivative, its saturation test and the range of its histogram.

A member writes `y = f(x)` into a buffer, and later turns dL/dy into dL/dx given x and y. Lecture 6,
"activation functions".
"""

from dataclasses import dataclass
from typing import ClassVar

from engine.backend import Array, Backend
from engine.registry import Registry

activations: Registry["Activation"] = Registry("activation")


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity; all arrays have the shape (batch, *units)."""

    saturated: ClassVar[tuple[float, float] | None] = None
    """An output at or beyond these values passes next to no gradient on; None: never saturates."""
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    """Lowest and highest output, None where there is none: the range of its histogram."""
    silent_at: ClassVar[float | None] = None
    """A unit that never rises above this output learns nothing: it is dead. None: cannot die."""

    def forward(self, backend: Backend, x: Array, y: Array) -> None:
        """Write f(x) into y."""
        raise NotImplementedError

    def backward(self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array) -> None:
        """Write dy · f′(x) into dx; reads x, y and dy only."""
        raise NotImplementedError


@activations.register("identity")
@dataclass(frozen=True)
class Identity(Activation):
    """f(x) = x."""

    def forward(self, backend: Backend, x: Array, y: Array) -> None:
        backend.xp.copyto(y, x)

    def backward(self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array) -> None:
        backend.xp.copyto(dx, dy)


@activations.register("relu")
@dataclass(frozen=True)
class ReLU(Activation):
    """f(x) = max(0, x); f′(0) = 0, as the lecture and PyTorch have it."""

    bounds: ClassVar = (0.0, None)
    silent_at: ClassVar = 0.0

    def forward(self, backend: Backend, x: Array, y: Array) -> None:
        backend.xp.maximum(x, 0, out=y)

    def backward(self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array) -> None:
        backend.xp.sign(y, out=dx)  # 0 or 1, and NaN stays NaN
        backend.xp.multiply(dx, dy, out=dx)


@activations.register("tanh")
@dataclass(frozen=True)
class Tanh(Activation):
    """f(x) = tanh x, in [−1, 1]; f′ = 1 − y², below 0.06 where |y| > 0.97."""

    saturated: ClassVar = (-0.97, 0.97)
    bounds: ClassVar = (-1.0, 1.0)

    def forward(self, backend: Backend, x: Array, y: Array) -> None:
        backend.xp.tanh(x, out=y)

    def backward(self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array) -> None:
        xp = backend.xp
        xp.multiply(y, y, out=dx)
        xp.subtract(1, dx, out=dx)
        xp.multiply(dx, dy, out=dx)


@activations.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(Activation):
    """f(x) = 1 / (1 + e⁻ˣ), in [0, 1]; f′ = y (1 − y) ≤ ¼."""

    saturated: ClassVar = (0.03, 0.97)
    bounds: ClassVar = (0.0, 1.0)

    def forward(self, backend: Backend, x: Array, y: Array) -> None:
        xp = backend.xp
        # ½ (1 + tanh(x/2)) is the same function and cannot overflow, as e⁻ˣ does for x < −88.
        xp.multiply(x, 0.5, out=y)
        xp.tanh(y, out=y)
        xp.multiply(y, 0.5, out=y)
        xp.add(y, 0.5, out=y)

    def backward(self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array) -> None:
        xp = backend.xp
        xp.subtract(1, y, out=dx)
        xp.multiply(dx, y, out=dx)
        xp.multiply(dx, dy, out=dx)
