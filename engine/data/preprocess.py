"""Preprocessing steps: fitted on the training split, then applied to every split alike.

Lecture 6, "data preprocessing".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import require
from engine.registry import Registry

Table = npt.NDArray[Any]  # (examples, features), floating
Fitted = Callable[[Table], Table]
preprocessors: Registry["Preprocessor"] = Registry("preprocessing step")


@dataclass(frozen=True)
class Preprocessor:
    """A frozen description of a step."""

    def fit(self, train: Table) -> Fitted:
        """Take the statistics of `train` and return the map to apply to every split."""
        raise NotImplementedError


@preprocessors.register("zero_mean")
@dataclass(frozen=True)
class ZeroMean(Preprocessor):
    """x − mean of each feature."""

    def fit(self, train: Table) -> Fitted:
        mean = train.mean(axis=0, dtype=np.float64).astype(train.dtype)
        return lambda x: x - mean


@preprocessors.register("normalize")
@dataclass(frozen=True)
class Normalize(Preprocessor):
    """x / std of each feature, after the mean is taken out by `zero_mean`; constant ones stay."""

    def fit(self, train: Table) -> Fitted:
        std = train.std(axis=0, dtype=np.float64)
        scale = np.where(std > 0, std, 1.0).astype(train.dtype)
        return lambda x: x / scale


@preprocessors.register("scale")
@dataclass(frozen=True)
class Scale(Preprocessor):
    """x · factor: for example 1/255 for bytes."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        require(np.isfinite(self.factor) and self.factor != 0, "factor", "must be finite, not 0")

    def fit(self, train: Table) -> Fitted:
        factor = float(self.factor)
        return lambda x: x * factor
