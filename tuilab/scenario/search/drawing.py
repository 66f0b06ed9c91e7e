"""Optuna samplers whose n-th trial has the same point for any number of jobs and machines."""

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
"""Attribute of a trial that repeats a lost one: the number of the lost trial."""


def slot(study: Study, number: int) -> int:
    """Return the index of a trial among those that are not retries."""
    trials = study.get_trials(deepcopy=False)
    return sum(t.number < number and RETRY_OF not in t.user_attrs for t in trials)


class _BySlot(BaseSampler):
    """Draws parameters independently of each other, from the index of the trial."""

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
    """Uniform on the scale of each range."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space)
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        index = slot(study, trial.number)
        generator = np.random.default_rng([self._seed, zlib.crc32(param_name.encode()), index])
        parameter = self._space[param_name]
        if not isinstance(parameter, Range):
            return parameter.labels[int(generator.integers(len(parameter.labels)))]
        if parameter.whole and not parameter.logarithmic:
            return int(generator.integers(int(parameter.low), int(parameter.high), endpoint=True))
        value = parameter.at(float(generator.random()))
        return min(max(value, parameter.low), parameter.high)


class GridSampler(_BySlot):
    """All combinations in turn; the last parameter changes fastest."""

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
