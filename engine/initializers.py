"""Rules for the first weights. Drawn on the host, so that CPU and GPU start from equal bits.

`xavier` is the lecture's randn/√fan_in (Glorot and Bengio, 2010, simplified); `he` carries the
factor 2 for ReLU (He et al., 2015).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import require
from engine.registry import Registry

Weights = npt.NDArray[np.float64]
initializers: Registry["Initializer"] = Registry("initializer")


@dataclass(frozen=True)
class Initializer:
    """Draws an array of weights of a given shape."""

    def std_for(self, fan_in: int) -> float:
        """Standard deviation of a weight of a unit with `fan_in` inputs."""
        raise NotImplementedError

    def __call__(
        self, shape: tuple[int, ...], *, fan_in: int, generator: np.random.Generator
    ) -> Weights:
        """Draw weights of `shape` in float64: Gaussian, mean 0, of this rule's std."""
        return generator.standard_normal(shape) * self.std_for(fan_in)


@initializers.register("zeros")
@dataclass(frozen=True)
class Zeros(Initializer):
    """All zero: no symmetry is broken, every unit of a layer stays the same."""

    def std_for(self, fan_in: int) -> float:
        return 0.0

    def __call__(
        self, shape: tuple[int, ...], *, fan_in: int, generator: np.random.Generator
    ) -> Weights:
        return np.zeros(shape)


@initializers.register("normal")
@dataclass(frozen=True)
class Normal(Initializer):
    """Gaussian with a fixed standard deviation, whatever the fan-in."""

    std: float = 0.01

    def __post_init__(self) -> None:
        require(self.std >= 0, "std", f"must not be negative, is {self.std}")

    def std_for(self, fan_in: int) -> float:
        return self.std


@initializers.register("xavier")
@dataclass(frozen=True)
class Xavier(Initializer):
    """Gaussian with std 1/√fan_in: keeps the variance through a linear unit."""

    def std_for(self, fan_in: int) -> float:
        return float((1 / fan_in) ** 0.5)


@initializers.register("he")
@dataclass(frozen=True)
class He(Initializer):
    """Gaussian with std √(2/fan_in): ReLU drops half of the variance, so begin with twice."""

    def std_for(self, fan_in: int) -> float:
        return float((2 / fan_in) ** 0.5)
