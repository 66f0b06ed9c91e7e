"""Weight initialisation, drawn on the host so that CPU and GPU start from the same bits.

`xavier` is the lecture's randn/√fan_in; the `glorot` rules are those of Glorot and Bengio (2010),
who average over fan_in and fan_out; `he` has the factor 2 for ReLU (He et al., 2015). A rule named
`…_uniform` has the same std as its Gaussian counterpart: its limit is √3 times that.
"""

from dataclasses import dataclass
from math import isfinite, prod, sqrt

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from engine.errors import require
from engine.registry import Registry

Shape = tuple[int, ...]
Weights = npt.NDArray[np.float64]
initializers: Registry["Initializer"] = Registry("initializer")


@dataclass(frozen=True)
class Initializer:
    """Draws an array of weights of a given shape."""

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        """Return float64 weights of `shape` for units with these numbers of inputs and outputs."""
        raise NotImplementedError

    def std_for(self, fan_in: int, fan_out: int) -> float | None:
        """Return the standard deviation of a linear layer's weight; None if the mean is not 0."""
        return None


@dataclass(frozen=True)
class _Gaussian(Initializer):
    """Gaussian with mean 0 and the standard deviation `std_for` the fans."""

    def std_for(self, fan_in: int, fan_out: int) -> float:
        raise NotImplementedError

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        return generator.standard_normal(shape) * self.std_for(fan_in, fan_out)


@dataclass(frozen=True)
class _Uniform(_Gaussian):
    """Uniform with mean 0 and the standard deviation `std_for` the fans: within ±√3 std."""

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        limit = sqrt(3) * self.std_for(fan_in, fan_out)
        return generator.uniform(-limit, limit, shape)


@initializers.register("constant")
@dataclass(frozen=True)
class Constant(Initializer):
    """A single value: no symmetry is broken, all units of a layer stay the same."""

    value: float = 0.0  # of every weight

    def __post_init__(self) -> None:
        require(isfinite(self.value), "value", f"must be finite, is {self.value}")

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        return np.full(shape, self.value, np.float64)


@initializers.register("zeros")
@dataclass(frozen=True)
class Zeros(Initializer):
    """All zero: no symmetry is broken (the lecture asks "what happens then?")."""

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        return np.zeros(shape)

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return 0.0


@initializers.register("normal")
@dataclass(frozen=True)
class Normal(_Gaussian):
    """Gaussian with a fixed standard deviation, whatever the fan-in."""

    std: float = 0.01  # standard deviation

    def __post_init__(self) -> None:
        require(self.std >= 0, "std", f"must not be negative, is {self.std}")

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return self.std


@initializers.register("uniform")
@dataclass(frozen=True)
class Uniform(_Uniform):
    """Uniform in ±limit, whatever the fan-in."""

    limit: float = 0.01  # largest magnitude

    def __post_init__(self) -> None:
        require(self.limit >= 0, "limit", f"must not be negative, is {self.limit}")

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return self.limit / sqrt(3)


@initializers.register("xavier")
@dataclass(frozen=True)
class Xavier(_Gaussian):
    """Gaussian with std 1/√fan_in: a linear unit preserves the variance."""

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return sqrt(1 / fan_in)


@initializers.register("lecun")
@dataclass(frozen=True)
class LeCun(Xavier):
    """Gaussian with std 1/√fan_in (LeCun et al., 1998), as SELU needs; the same as xavier."""


@initializers.register("glorot_normal")
@dataclass(frozen=True)
class GlorotNormal(_Gaussian):
    """Gaussian with std √(2/(fan_in + fan_out)): a compromise between the two directions."""

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return sqrt(2 / (fan_in + fan_out))


@initializers.register("glorot_uniform")
@dataclass(frozen=True)
class GlorotUniform(_Uniform, GlorotNormal):
    """Uniform in ±√(6/(fan_in + fan_out))."""


@initializers.register("he")
@dataclass(frozen=True)
class He(_Gaussian):
    """Gaussian with std √(2/fan_in): twice the variance, because ReLU drops half of it."""

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return sqrt(2 / fan_in)


@initializers.register("he_uniform")
@dataclass(frozen=True)
class HeUniform(_Uniform, He):
    """Uniform in ±√(6/fan_in)."""


@initializers.register("orthogonal")
@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al., 2014).

    More than two axes are treated as a matrix of the first and all others, as PyTorch does.
    """

    gain: float = 1.0  # factor of the orthonormal matrix

    def __post_init__(self) -> None:
        require(isfinite(self.gain), "gain", f"must be finite, is {self.gain}")

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        rows, columns = shape[0], prod(shape[1:])
        tall = generator.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.sign(np.diag(r))  # else the distribution would not be uniform
        matrix = q if rows >= columns else q.T
        return np.ascontiguousarray(self.gain * matrix).reshape(shape)

    def std_for(self, fan_in: int, fan_out: int) -> float:
        return abs(self.gain) / sqrt(max(fan_in, fan_out))  # of a matrix (fan_in, fan_out)


@initializers.register("identity")
@dataclass(frozen=True)
class IdentityMatrix(Initializer):
    """Ones on the diagonal: a linear layer passes on its first inputs unchanged."""

    def __call__(self, shape: Shape, *, fan_in: int, fan_out: int, generator: Generator) -> Weights:
        require(len(shape) == 2, "initializer", f"identity needs a matrix, not the shape {shape}")
        return np.eye(shape[0], shape[1], dtype=np.float64)
