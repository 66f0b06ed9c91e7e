"""How a search chooses its points: `sampler = "random"`, or a table with settings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import require
from engine.registry import Registry
from tuilab.scenario.search.space import Space

if TYPE_CHECKING:  # Optuna is an extra, and slow to load
    from optuna.samplers import BaseSampler


class Sampler(ABC):
    """Chooses the points of a search."""

    @abstractmethod
    def build(self, space: Space, seed: int, trials: int) -> "BaseSampler":
        """Return Optuna's sampler; `trials` is how many the study already has."""

    def limit(self, space: Space) -> int | None:
        """Return the number of points, or None if it is unlimited."""
        return None


samplers: Final[Registry[Sampler]] = Registry("sampler")


@samplers.register("random")
@dataclass(frozen=True)
class Random(Sampler):
    """Independent points, uniform on the scale of each range; the same for any number of jobs."""

    def build(self, space: Space, seed: int, trials: int) -> "BaseSampler":
        from tuilab.scenario.search.drawing import RandomSampler

        return RandomSampler(space, seed)


@samplers.register("grid")
@dataclass(frozen=True)
class Grid(Sampler):
    """All combinations of `points` values per range and of all choices."""

    points: int = 5  # values of each range

    def __post_init__(self) -> None:
        require(self.points >= 1, "points", f"must be at least 1, is {self.points}")

    def build(self, space: Space, seed: int, trials: int) -> "BaseSampler":
        from tuilab.scenario.search.drawing import GridSampler

        return GridSampler(space, self.points)

    def limit(self, space: Space) -> int | None:
        count = 1
        for parameter in space.values():
            count *= len(parameter.points(self.points))
        return count


@samplers.register("tpe")
@dataclass(frozen=True)
class TPE(Sampler):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), after `startup` random points."""

    startup: int = 10  # random trials before the model is used

    def __post_init__(self) -> None:
        require(self.startup >= 1, "startup", f"must be at least 1, is {self.startup}")

    def build(self, space: Space, seed: int, trials: int) -> "BaseSampler":
        from optuna.samplers import TPESampler

        # Another machine, or a resumed search, must not draw the same points again.
        return TPESampler(n_startup_trials=self.startup, seed=(seed + trials) % 2**32)
