"""Schedules of the learning rate.

A schedule gives a factor for every step; the effective learning rate is "learning_rate" times that
factor. Setting or scaling the learning rate thus changes the base and keeps the schedule.
"""

from dataclasses import dataclass, field
from math import cos, inf, isfinite, pi
from typing import ClassVar

import numpy as np

from engine.backends.base import Host
from engine.errors import require
from engine.registry import Registry

schedules: Registry["Schedule"] = Registry("schedule")


@dataclass(frozen=True)
class Schedule:
    """A frozen description; in the first `warm_up_steps` the factor rises linearly."""

    needs_validation: ClassVar[bool] = False
    """Whether it depends on the validation loss."""

    warm_up_steps: int = 0  # steps of a linear rise at the start

    def __post_init__(self) -> None:
        steps = self.warm_up_steps
        require(steps >= 0, "warm_up_steps", f"must not be negative, is {steps}")

    def at(self, step: int, total: int) -> float:
        """Return the factor at `step` (from 0) of `total`, both without the warm-up."""
        raise NotImplementedError

    def bind(self, total: int, start: int = 0) -> "BoundSchedule":
        """Return the schedule of a training of `total` steps, acting from step `start`."""
        return BoundSchedule(self, total, start)


@dataclass
class BoundSchedule:
    """A schedule bound to the length of a training."""

    schedule: Schedule
    total: int
    """Steps of the whole training."""
    start: int = 0
    """The step at which it begins, as if training began there."""
    state: Host = field(default_factory=lambda: np.zeros(0))
    """What a checkpoint must save."""

    def factor(self, step: int) -> float:
        """Return the factor at `step`, from 0."""
        step -= self.start
        warm_up = self.schedule.warm_up_steps
        if step < warm_up:
            return (step + 1) / warm_up * self.after(0)
        return self.after(step - warm_up)

    def after(self, step: int) -> float:
        """Return the factor at `step`, counted from the end of the warm-up."""
        before = self.start + self.schedule.warm_up_steps
        return self.schedule.at(step, max(1, self.total - before))

    def validated(self, loss: float) -> None:
        """Record a validation loss."""


@schedules.register("constant")
@dataclass(frozen=True)
class Constant(Schedule):
    """1: the learning rate stays as it was set."""

    def at(self, step: int, total: int) -> float:
        return 1.0


def _check_factor(factor: float) -> None:
    good = factor > 0 and isfinite(factor)
    require(good, "factor", f"must be positive, is {factor}")


def _power(factor: float, exponent: int) -> float:
    """Return factorⁿ, infinity if it is too large for a float."""
    try:
        return float(factor**exponent)
    except OverflowError:
        return inf


@schedules.register("step")
@dataclass(frozen=True)
class StepDecay(Schedule):
    """Times `factor` after every `every` steps."""

    every: int = 1000  # steps between two reductions
    factor: float = 0.1  # of the rate, each time it is lowered

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, "every", f"must be at least 1, is {self.every}")
        _check_factor(self.factor)

    def at(self, step: int, total: int) -> float:
        return _power(self.factor, step // self.every)


@schedules.register("exponential")
@dataclass(frozen=True)
class Exponential(Schedule):
    """factorᵗ: the lecture's e^(−kt) with factor e^(−k)."""

    factor: float = 0.999  # of the rate, each time it is lowered

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor(self.factor)

    def at(self, step: int, total: int) -> float:
        return _power(self.factor, step)


@schedules.register("inverse_time")
@dataclass(frozen=True)
class InverseTime(Schedule):
    """1 / (1 + k t), the lecture's "1/t decay"; k is `decay`."""

    decay: float = 0.001  # per step

    def __post_init__(self) -> None:
        super().__post_init__()
        good = self.decay >= 0 and isfinite(self.decay)
        require(good, "decay", f"must not be negative, is {self.decay}")

    def at(self, step: int, total: int) -> float:
        return 1 / (1 + self.decay * step)


def _half_cosine(start: float, end: float, share: float) -> float:
    """Return the value after a `share` of the way from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + cos(pi * share)) / 2


@schedules.register("cosine")
@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `to` over the whole training (Loshchilov and Hutter, 2017)."""

    to: float = 0.0  # factor at the end

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.to <= 1, "to", f"must be in [0, 1], is {self.to}")

    def at(self, step: int, total: int) -> float:
        return _half_cosine(1.0, self.to, step / total)


@schedules.register("one_cycle")
@dataclass(frozen=True)
class OneCycle(Schedule):
    """From `start` up to 1 in the share `rise` of training, then down to `end` (Smith, 2018).

    Both along half a cosine, with PyTorch's defaults: the learning rate that is set is the
    maximum. Momentum does not change.
    """

    rise: float = 0.3  # share of the run in which the rate rises
    start: float = 1 / 25  # factor at the start
    end: float = 1 / 25 / 1e4  # factor at the end

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.rise < 1, "rise", f"must be in (0, 1), is {self.rise}")
        for key, value in (("start", self.start), ("end", self.end)):
            require(0 <= value <= 1, key, f"must be in [0, 1], is {value}")

    def at(self, step: int, total: int) -> float:
        peak, last = max(0.0, self.rise * total - 1), total - 1
        if step < peak:
            return _half_cosine(self.start, 1.0, step / peak)
        return _half_cosine(1.0, self.end, (step - peak) / (last - peak)) if last > peak else 1.0


@schedules.register("reduce_on_plateau")
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Times `factor` after more than `patience` validations without a better loss.

    A loss is better if it is below the best by more than the share `threshold`. Validation happens
    at the start and after every epoch.
    """

    needs_validation: ClassVar = True
    factor: float = 0.1  # of the rate, each time it is lowered
    patience: int = 10  # epochs without progress before the rate is lowered
    threshold: float = 1e-4  # relative progress that counts

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor(self.factor)
        require(self.patience >= 0, "patience", f"must not be negative, is {self.patience}")
        good = 0 <= self.threshold < 1
        require(good, "threshold", f"must be in [0, 1), is {self.threshold}")

    def at(self, step: int, total: int) -> float:
        return 1.0

    def bind(self, total: int, start: int = 0) -> BoundSchedule:
        return _Plateau(self, total, start, settings=self)


@dataclass
class _Plateau(BoundSchedule):
    """Its state: the best loss, the number of validations since, and the current factor."""

    settings: ReduceOnPlateau = field(default_factory=ReduceOnPlateau)
    state: Host = field(default_factory=lambda: np.array([inf, 0.0, 1.0]))

    def after(self, step: int) -> float:
        return float(self.state[2])

    def validated(self, loss: float) -> None:
        if loss < self.state[0] * (1 - self.settings.threshold):
            self.state[:2] = loss, 0
        else:
            self.state[1] += 1
        if self.state[1] > self.settings.patience:
            self.state[2] *= self.settings.factor
            self.state[1] = 0
