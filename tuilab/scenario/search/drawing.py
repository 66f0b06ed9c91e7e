"""Optuna samplers whose n-th trial has the same point however many jobs or machines there are."""

import itertools
import zlib
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from tuilab.scenario.search.space import Range, Space

RETRY_OF = "tuilab:retry_of"
"""Attribute of a trial that takes the place of one that was lost: the number of that one."""


def slot(study: Study, number: int) -> int:
    """Return which trial this is, not counting those in the place of others."""
    trials = study.get_trials(deepcopy=False)
    return sum(t.number < number and RETRY_OF not in t.user_attrs for t in trials)


class _BySlot(BaseSampler):
    """Draws each parameter by itself, from the trial's place in the study."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


class RandomSampler(_BySlot):
    """Evenly on the scale of each range."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space)
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        place = slot(study, trial.number)
        generator = np.random.default_rng([self._seed, zlib.crc32(param_name.encode()), place])
        parameter = self._space[param_name]
        if not isinstance(parameter, Range):
            return parameter.labels[int(generator.integers(len(parameter.labels)))]
        if parameter.whole and not parameter.logarithmic:
            return int(generator.integers(int(parameter.low), int(parameter.high), endpoint=True))
        value = parameter.at(float(generator.random()))
        return min(max(value, parameter.low), parameter.high)


class GridSampler(_BySlot):
    """Every combination in turn; the last parameter changes fastest."""

    def __init__(self, space: Space, points: int) -> None:
        super().__init__(space)
        axes = [parameter.points(points) for parameter in space.values()]
        self._points = [
            space.encoded(dict(zip(space, values, strict=True)))
            for values in itertools.product(*axes)
        ]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._points[slot(study, trial.number) % len(self._points)][param_name]
