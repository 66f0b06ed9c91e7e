"""Activations in two pieces that meet at 0: ReLU and its relatives."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.activations.base import Activation, Scratch, activations
from engine.activations.special import above_zero, below_zero
from engine.backends.base import Array, Backend
from engine.errors import require


def step_at_zero(xp: Any, x: Array, out: Array) -> None:
    """Write 1 where x > 0 and 0 elsewhere; NaN stays NaN."""
    xp.clip(x, 0, 1, out=out)
    xp.ceil(out, out=out)  # both have vector loops in NumPy; sign has not


@activations.register("identity")
@dataclass(frozen=True)
class Identity(Activation):
    """f(x) = x."""

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        backend.xp.copyto(y, x)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        backend.xp.copyto(dx, dy)


@activations.register("relu")
@dataclass(frozen=True)
class ReLU(Activation):
    """f(x) = max(0, x); f′(0) = 0, as in the lecture and in PyTorch."""

    kernels = "relu_forward", "relu_backward"
    bounds = (0.0, None)
    silent_at = 0.0

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        above_zero(backend.xp, x, y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        step_at_zero(backend.xp, y, dx)
        backend.xp.multiply(dx, dy, out=dx)


@activations.register("leaky_relu")
@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(x) = x for x > 0, else slope · x (Maas et al., 2013): a unit cannot die."""

    slope: float = 0.01  # slope of the negative side

    def __post_init__(self) -> None:
        require(0 <= self.slope <= 1, "slope", f"must be in [0, 1], is {self.slope}")

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        backend.xp.multiply(x, self.slope, out=y)
        backend.xp.maximum(x, y, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp = backend.xp
        step_at_zero(xp, x, dx)
        xp.multiply(dx, 1 - self.slope, out=dx)
        xp.add(dx, self.slope, out=dx)
        xp.multiply(dx, dy, out=dx)


@dataclass(frozen=True)
class _ExponentialLinear(Activation):
    """f(x) = s x for x > 0, else s α (eˣ − 1); f′ = s, else y + s α."""

    scratch: ClassVar = 1

    def constants(self) -> tuple[float, float]:
        """Return α and s."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        alpha, scale = self.constants()
        return -alpha * scale, None

    @property
    def saturated(self) -> tuple[float, float] | None:
        alpha, scale = self.constants()
        return min(0.03 - alpha * scale, 0.0), math.inf  # below it f′ < 0.03

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        xp, (above,) = backend.xp, scratch
        alpha, scale = self.constants()
        below_zero(xp, x, y)
        xp.expm1(y, out=y)
        xp.multiply(y, alpha * scale, out=y)
        above_zero(xp, x, above)
        xp.multiply(above, scale, out=above)
        xp.add(y, above, out=y)

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        xp, (above,) = backend.xp, scratch
        alpha, scale = self.constants()
        step_at_zero(xp, x, above)
        xp.multiply(above, scale * (1 - alpha), out=above)
        below_zero(xp, y, dx)
        xp.add(dx, alpha * scale, out=dx)
        xp.add(dx, above, out=dx)
        xp.multiply(dx, dy, out=dx)


@activations.register("elu")
@dataclass(frozen=True)
class ELU(_ExponentialLinear):
    """f(x) = x for x > 0, else α (eˣ − 1) (Clevert et al., 2016)."""

    alpha: float = 1.0  # minus the limit for very negative inputs

    def __post_init__(self) -> None:
        require(self.alpha > 0, "alpha", f"must be positive, is {self.alpha}")

    def constants(self) -> tuple[float, float]:
        return self.alpha, 1.0


@activations.register("selu")
@dataclass(frozen=True)
class SELU(_ExponentialLinear):
    """A scaled ELU; its constants drive mean and variance to 0 and 1 (Klambauer et al., 2017)."""

    def constants(self) -> tuple[float, float]:
        return 1.6732632423543772, 1.0507009873554805
