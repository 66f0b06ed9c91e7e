"""The numbers that can change while training, each checked when it is set."""

import math
from typing import Final

from engine.commands import Command
from engine.errors import ConfigError, UnknownNameError, require

SHARES: Final = ("momentum", "alpha", "beta1", "beta2", "dropout")
"""Shares below 1: what of an average is kept a step, or what dropout leaves out."""


class Hyperparameters(dict[str, float]):
    """The numbers that can change between steps; the optimiser reads them at every one."""

    factor: float = 1.0
    """What the schedule makes of the learning rate at this step."""

    @property
    def rate(self) -> float:
        """The learning rate that acts at this step: the one that was set, times the factor."""
        return self["learning_rate"] * self.factor

    def validate(self, key: str, value: float) -> None:
        """Raise ConfigError or UnknownNameError unless `key` may take `value`."""
        if key not in self:
            raise UnknownNameError("hyper-parameter", key, self)
        check(key, value)

    def changed(self, command: Command) -> float:
        """Return the value that "set" or "scale" gives. Raises ConfigError, UnknownNameError."""
        value = command.value
        if command.kind == "scale":
            value *= self.get(command.key, 0.0)
        self.validate(command.key, value)
        return value

    def change(self, command: Command) -> dict[str, object]:
        """Do what "set" or "scale" says; return what there is to tell. Raises as `changed`."""
        key, value = command.key, self.changed(command)
        previous, self[key] = self[key], value
        return {"key": key, "value": value, "previous": previous}


def check(key: str, value: float) -> None:
    """Raise ConfigError unless the hyper-parameter `key` may be `value`."""
    if not math.isfinite(value):
        raise ConfigError(f"must be a finite number, is {value}", key)
    if key in SHARES:
        require(0 <= value < 1, key, f"must be in [0, 1), is {value:g}")
    elif key == "epsilon":
        require(value > 0, key, f"must be positive, is {value:g}")
    else:
        require(value >= 0, key, f"must not be negative, is {value:g}")
