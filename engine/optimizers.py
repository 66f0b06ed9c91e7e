"""Optimisers: a few passes over one flat parameter vector.

Settings that may change while training (learning rate, momentum …) are read at every step from
`Hyperparameters`, never baked into a closure.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from engine.backend import Array, Backend
from engine.errors import ConfigError, UnknownNameError, require
from engine.registry import Registry

optimizers: Registry["Optimizer"] = Registry("optimizer")

BLOCK: Final = 1 << 15
"""Elements a pass works on before the next pass: 128 kB of float32, so that the parameters, their
gradient and velocity come from memory once a step and from the L2 cache after that."""


def cuts(length: int) -> list[slice]:
    """Return the slices that cut a vector of `length` into blocks of BLOCK."""
    return [slice(start, start + BLOCK) for start in range(0, length, BLOCK)]


class Hyperparameters(dict[str, float]):
    """The numbers that can change between steps, each checked when set."""

    def validate(self, key: str, value: float) -> None:
        """Raise ConfigError or UnknownNameError unless `key` may take `value`."""
        if key not in self:
            raise UnknownNameError("hyper-parameter", key, self)
        check(key, value)


def check(key: str, value: float) -> None:
    """Raise ConfigError unless the hyper-parameter `key` may be `value`."""
    if not math.isfinite(value):
        raise ConfigError(f"must be a finite number, is {value}", key)
    if key in ("momentum", "dropout"):
        require(0 <= value < 1, key, f"must be in [0, 1), is {value:g}")
    else:
        require(value >= 0, key, f"must not be negative, is {value:g}")


@dataclass(frozen=True)
class Optimizer:
    """A frozen description; its float fields are the hyper-parameters."""

    learning_rate: float = 0.01
    weight_decay: float = 0.0  # λ of ½λ‖W‖², added to the loss

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            check(key, value)

    def hyperparameters(self) -> Hyperparameters:
        """Return the initial values of what can change while training."""
        return Hyperparameters(asdict(self))

    def bind(
        self, parameters: Array, gradients: Array, hyper: Hyperparameters, backend: Backend
    ) -> Callable[[], None]:
        """Return the update of the flat `parameters` by the flat `gradients`, both (P,)."""
        raise NotImplementedError


@optimizers.register("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """v ← μ v + g; w ← w − η v: gradient descent with momentum μ, in PyTorch's convention.

    The velocity does not contain the learning rate, so changing it acts at once.
    """

    momentum: float = 0.0

    def bind(
        self, parameters: Array, gradients: Array, hyper: Hyperparameters, backend: Backend
    ) -> Callable[[], None]:
        xp = backend.xp
        velocity = backend.full(parameters.shape, 0.0)
        scratch = backend.empty((min(BLOCK, len(parameters)),))
        blocks = [
            (parameters[cut], gradients[cut], velocity[cut], scratch[: len(parameters[cut])])
            for cut in cuts(len(parameters))
        ]

        def update() -> None:
            learning_rate, momentum = hyper["learning_rate"], hyper["momentum"]
            for w, g, v, change in blocks:
                xp.multiply(v, momentum, out=v)
                xp.add(v, g, out=v)
                xp.multiply(v, learning_rate, out=change)
                xp.subtract(w, change, out=w)

        return update
