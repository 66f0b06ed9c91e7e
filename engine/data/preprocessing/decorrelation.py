"""PCA and whitening (lecture 6, "data preprocessing")."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from engine.data.preprocessing.base import Pixels, Preprocessor, Statistics, Table, preprocessors
from engine.errors import require

Matrix = npt.NDArray[np.float64]
BLOCK: Final = 1000  # examples converted to float64 at a time: all of CIFAR-10 would take 1.2 GB


@preprocessors.register("pca")
@dataclass(frozen=True)
class PCA(Preprocessor):
    """(x − mean) · axes: the `k` axes along which the training split varies most (0: all)."""

    keeps_pixels: ClassVar = False
    k: int = 0  # number of axes; 0: all

    def __post_init__(self) -> None:
        require(self.k >= 0, "k", f"must not be negative, is {self.k}")

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        mean, _, axes = principal_axes(train, self.k)
        return {"mean": mean, "axes": axes}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        return project(x, statistics["mean"], statistics["axes"])


@preprocessors.register("whiten")
@dataclass(frozen=True)
class Whiten(Preprocessor):
    """Like `pca`, with each axis divided by √(variance + `epsilon`): the covariance becomes I.

    `epsilon` keeps directions without variance from being scaled up to pure noise.
    """

    keeps_pixels: ClassVar = False
    epsilon: float = 1e-5  # added to each variance
    k: int = 0  # number of axes; 0: all

    def __post_init__(self) -> None:
        good = np.isfinite(self.epsilon) and self.epsilon > 0
        require(bool(good), "epsilon", f"must be finite and positive, is {self.epsilon:g}")
        require(self.k >= 0, "k", f"must not be negative, is {self.k}")

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        mean, variance, axes = principal_axes(train, self.k)
        return {"mean": mean, "variance": variance, "axes": axes / np.sqrt(variance + self.epsilon)}

    apply = PCA.apply


def principal_axes(x: Table, k: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return mean (features,), variances (k,), largest first, and axes (features, k); k = 0: all.

    The covariance is that of the population. The sign of an axis is arbitrary; its largest
    component is made positive.
    """
    features = x.shape[1]
    require(k <= features, "k", f"must be at most {features}, the number of features, is {k}")
    mean = x.mean(axis=0, dtype=np.float64)
    variance, axes = np.linalg.eigh(_covariance(x, mean))  # smallest first
    largest_first = slice(None, -1 - (k or features), -1)
    variance, axes = np.maximum(variance[largest_first], 0), axes[:, largest_first]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return mean, variance, np.ascontiguousarray(axes)


def project(x: Table, mean: npt.NDArray[Any], axes: npt.NDArray[Any]) -> Table:
    """Return (x − mean) · axes, of the dtype of x."""
    return np.asarray((x - mean.astype(x.dtype)) @ axes.astype(x.dtype))


def _covariance(x: Table, mean: Matrix) -> Matrix:
    total = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), BLOCK):
        centred = x[start : start + BLOCK] - mean
        total += centred.T @ centred
    return total / len(x)
