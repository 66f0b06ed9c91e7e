"""Named numbers of each step, as a program logs them: before or after its optimiser steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.statistics.frames import Floats

Scalars = dict[str, Any]  # by name: numbers, or tensors on a device


@dataclass(frozen=True, slots=True)
class Fetched:
    """Numbers of some steps that may not have arrived yet: call `numbers` once `ready`."""

    numbers: Callable[[], list[dict[str, float]]]
    ready: Callable[[], bool] = lambda: True


def floats(rows: Sequence[Scalars]) -> Fetched:
    """Return numbers that are all in main memory."""
    return Fetched(lambda: [{name: as_float(v) for name, v in row.items()} for row in rows])


def as_float(value: Any) -> float:
    """Return what a program has logged as a number; NaN where it is not one."""
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return float("nan")


def now(value: Any) -> Any:
    """Return a number as it is now: a tensor on a device as a copy, which nothing waits for."""
    if hasattr(value, "detach"):
        value = value.detach()
        return as_float(value) if value.device.type == "cpu" else value.clone()
    return value


class StepScalars:
    """Assigns what is logged to steps.

    A program may log the loss before its optimiser steps or after it. Which of them is seen at the
    first call for a name: before the first step has ended, or after. A value that is logged after
    the gradient was computed always belongs to the step that is under way.
    """

    def __init__(self) -> None:
        self._ended: list[Scalars] = []  # steps that ended and were not taken yet
        self._open: Scalars = {}  # of the step under way
        self._gradient_known = False
        self._before: dict[str, bool] = {}  # by name: whether it is logged before its step ends
        self.steps = 0

    def log(self, values: Mapping[str, Any]) -> None:
        """Add values to the step that they belong to."""
        for name, value in values.items():
            first = self.steps == 0 or self._gradient_known
            before = self._before.setdefault(name, first) or self._gradient_known
            target = self._open if before or not self._ended else self._ended[-1]
            target[name] = value

    def gradient_known(self) -> None:
        """Remember that the gradient of the step under way was computed."""
        self._gradient_known = True

    def end_step(self, values: Mapping[str, Any]) -> None:
        """End the step; `values` are measured by the watcher and yield to those logged."""
        self._ended.append({**values, **self._open})
        self._open, self._gradient_known = {}, False
        self.steps += 1

    def add_to_last(self, name: str, values: Sequence[float] | Floats) -> None:
        """Add a value to each of the last steps; those that were taken already are left out."""
        steps = self._ended[-len(values) :] if len(values) else []
        for step, value in zip(steps, values[len(values) - len(steps) :], strict=True):
            step[name] = float(value)

    def skip_step(self) -> None:
        """Discard what was logged for a step that was not made."""
        self._open, self._gradient_known = {}, False

    def take(self, *, all_of_them: bool = False) -> list[Scalars]:
        """Return the steps that have ended, but for the last, to which values may be added."""
        until = len(self._ended) if all_of_them else max(0, len(self._ended) - 1)
        taken, self._ended = self._ended[:until], self._ended[until:]
        return taken


def as_series(steps: list[dict[str, float]]) -> dict[str, Floats]:
    """Return the values of steps as arrays by name, (steps,): NaN where a step has none."""
    names = dict.fromkeys(name for step in steps for name in step)
    nan = float("nan")
    return {name: np.array([step.get(name, nan) for step in steps]) for name in names}
