"""Hyper-parameters of optimisers, changed by a factor that no scheduler can overwrite.

A scheduler computes a learning rate from the one before, or from the first. So the watcher never
leaves its own value in a parameter group: it multiplies by its factor just before the optimiser
steps, and puts the program's value back just after.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from torch.optim import Optimizer

from engine.commands import Command
from engine.errors import ConfigError, UnknownNameError
from engine.optimization.hyperparameters import check

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "learning_rate": ("lr",),
    "momentum": ("momentum",),
    "weight_decay": ("weight_decay",),
    "beta1": ("betas", "0"),
    "beta2": ("betas", "1"),
}
"""Names of tuilab, and where they are in a parameter group."""


def read(group: Mapping[str, Any], key: str) -> Any:
    """Return the value of a hyper-parameter in a parameter group; None where it has none."""
    name, *rest = KEYS[key]
    value = group.get(name)
    return value[int(rest[0])] if rest and value is not None else value


def write(group: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a hyper-parameter in a parameter group."""
    name, *rest = KEYS[key]
    if rest:
        pair = [*group[name]]
        pair[int(rest[0])] = value
        value = tuple(pair)
    group[name] = value


class Factors:
    """What the view has made of the hyper-parameters of some optimisers.

    Of several parameter groups, the values of the first are shown, and all change by the same
    factor. A value of 0 cannot be multiplied: it is replaced while the change lasts.
    """

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self._optimizers = optimizers
        self._factors: dict[str, float] = {}
        self._instead_of_zero: dict[str, float] = {}

    @property
    def keys(self) -> list[str]:
        """Names of the hyper-parameters that these optimisers have."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        return [key for key in KEYS if any(read(group, key) is not None for group in groups)]

    def values(self) -> dict[str, float]:
        """Return the values with which the next step is made."""
        found = {}
        for key in self.keys:
            value = self._first(key)
            found[key] = float(self._changed(key, value))
        return found

    def _first(self, key: str) -> Any:
        groups = (group for optimizer in self._optimizers for group in optimizer.param_groups)
        return next(value for group in groups if (value := read(group, key)) is not None)

    def _changed(self, key: str, value: Any) -> Any:
        if key in self._instead_of_zero and value == 0:
            return self._instead_of_zero[key]
        return value * self._factors[key] if key in self._factors else value

    def refusal(self, command: Command) -> str:
        """Return why "set" or "scale" cannot be applied, or ""."""
        try:
            self._target(command)
        except (ConfigError, UnknownNameError) as error:
            return str(error)
        return ""

    def _target(self, command: Command) -> tuple[float, float]:
        """Return the value before and after. Raises ConfigError, UnknownNameError."""
        key, values = command.key, self.values()
        if key not in values:
            raise UnknownNameError("hyper-parameter", key, values)
        now = values[key]
        wanted = now * command.value if command.kind == "scale" else command.value
        check(key, wanted)
        return now, wanted

    def change(self, command: Command) -> dict[str, object]:
        """Apply "set" or "scale"; return the detail of the event. Raises as `_target`."""
        key, (before, after) = command.key, self._target(command)
        own = float(self._first(key))
        self._instead_of_zero.pop(key, None)
        self._factors.pop(key, None)
        if own == 0 and after != 0:
            self._instead_of_zero[key] = after
        elif not math.isclose(own, after, rel_tol=1e-12):
            self._factors[key] = after / own
        return {"key": key, "value": after, "previous": before}

    def apply(self, optimizer: Optimizer) -> list[tuple[dict[str, Any], str, Any]]:
        """Give an optimiser the changed values; return what `restore` takes."""
        undo = []
        for key in {*self._factors, *self._instead_of_zero}:
            for group in optimizer.param_groups:
                if (value := read(group, key)) is not None:
                    undo.append((group, key, value))
                    write(group, key, self._changed(key, value))
        return undo


def restore(undo: list[tuple[dict[str, Any], str, Any]]) -> None:
    """Put back the values that `Factors.apply` has replaced."""
    for group, key, value in undo:
        write(group, key, value)
