"""Rules that stop a trial which is worse than others: `pruner = "median"`, or a table."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import require
from engine.registry import Registry

if TYPE_CHECKING:  # Optuna is an extra, and slow to load
    from optuna.pruners import BasePruner


class Pruner(ABC):
    """Decides after each epoch whether a trial is stopped early."""

    @abstractmethod
    def build(self) -> "BasePruner":
        """Return Optuna's pruner."""


pruners: Final[Registry[Pruner]] = Registry("pruner")


@pruners.register("none")
@dataclass(frozen=True)
class Never(Pruner):
    """Never stop a trial early."""

    def build(self) -> "BasePruner":
        from optuna.pruners import NopPruner

        return NopPruner()


@pruners.register("median")
@dataclass(frozen=True)
class Median(Pruner):
    """Stop below the median of at least `trials` earlier trials at the same epoch."""

    trials: int = 5  # that must be complete before any is stopped
    epochs: int = 1  # that every trial is trained for

    def __post_init__(self) -> None:
        require(self.trials >= 1, "trials", f"must be at least 1, is {self.trials}")
        require(self.epochs >= 0, "epochs", f"must not be negative, is {self.epochs}")

    def build(self) -> "BasePruner":
        from optuna.pruners import MedianPruner

        return MedianPruner(n_startup_trials=self.trials, n_warmup_steps=self.epochs)


@pruners.register("halving")
@dataclass(frozen=True)
class Halving(Pruner):
    """Successive halving (Jamieson & Talwalkar 2016; asynchronous, Li et al. 2020).

    The best 1/`factor` of the trials continue after `epochs`, `factor` × `epochs`, … epochs.
    """

    epochs: int = 1  # before the first comparison
    factor: int = 3  # of trials that are stopped each time

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", f"must be at least 1, is {self.epochs}")
        require(self.factor >= 2, "factor", f"must be at least 2, is {self.factor}")

    def build(self) -> "BasePruner":
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(min_resource=self.epochs, reduction_factor=self.factor)
