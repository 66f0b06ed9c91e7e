"""The numbers that can change during training; every new value is checked."""

import math
from typing import Final

from engine.commands import Command
from engine.errors import ConfigError, UnknownNameError, require

SHARES: Final = ("momentum", "alpha", "beta1", "beta2", "dropout")
"""In [0, 1): the weight of the past in an average, or the share that dropout drops."""


class Hyperparameters(dict[str, float]):
    """The numbers that can change between steps; the optimiser reads them at every step."""

    factor: float = 1.0
    """The schedule's factor of the learning rate at this step."""

    @property
    def rate(self) -> float:
        """The effective learning rate at this step: "learning_rate" times the factor."""
        return self["learning_rate"] * self.factor

    def validate(self, key: str, value: float) -> None:
        """Raise ConfigError or UnknownNameError unless `key` can be set to `value`."""
        if key not in self:
            raise UnknownNameError("hyper-parameter", key, self)
        check(key, value)

    def changed(self, command: Command) -> float:
        """Return the new value after "set" or "scale". Raises ConfigError, UnknownNameError."""
        value = command.value
        if command.kind == "scale":
            value *= self.get(command.key, 0.0)
        self.validate(command.key, value)
        return value

    def change(self, command: Command) -> dict[str, object]:
        """Carry out "set" or "scale"; return the details of the event. Raises like `changed`."""
        key, value = command.key, self.changed(command)
        previous, self[key] = self[key], value
        return {"key": key, "value": value, "previous": previous}


def check(key: str, value: float) -> None:
    """Raise ConfigError unless `value` is allowed for the hyper-parameter `key`."""
    if not math.isfinite(value):
        raise ConfigError(f"must be a finite number, is {value}", key)
    if key in SHARES:
        require(0 <= value < 1, key, f"must be in [0, 1), is {value:g}")
    elif key == "epsilon":
        require(value > 0, key, f"must be positive, is {value:g}")
    else:
        require(value >= 0, key, f"must not be negative, is {value:g}")
