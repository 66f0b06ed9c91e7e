"""Statistics of preprocessed inputs (lecture 6, "data preprocessing")."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.data.preprocessing import Table

CORRELATED: Final = 256
"""Correlations are computed for at most this number of features, evenly spaced: the cost is
quadratic, and all 3,072 of CIFAR-10 would take minutes."""
BLOCK: Final = 1024  # examples converted to float64 at a time


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """Over the features: smallest and largest mean and std, and the largest correlation."""

    mean: tuple[float, float]
    std: tuple[float, float]  # of the population
    correlation: float  # the largest |r| of two features; 0 if fewer than two vary
    spread: float  # std of all values together
    offset: float  # mean of all values


def describe(x: Table) -> InputStatistics:
    """Return the statistics of x (examples, features)."""
    features = x.shape[1]
    chosen = np.unique(np.linspace(0, features - 1, min(features, CORRELATED)).round().astype(int))
    mean = x.mean(axis=0, dtype=np.float64)
    squares, products = np.zeros(features), np.zeros((len(chosen), len(chosen)))
    for start in range(0, len(x), BLOCK):
        centred = x[start : start + BLOCK] - mean
        squares += np.einsum("ij,ij->j", centred, centred)
        part = centred[:, chosen]
        products += part.T @ part
    variance = squares / len(x)
    std = np.sqrt(variance)
    return InputStatistics(
        _range(mean),
        _range(std),
        _largest_correlation(products),
        float(np.sqrt(variance.mean() + mean.var())),
        float(mean.mean()),
    )


def _range(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _largest_correlation(products: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    varies = products.diagonal() > 0
    length = np.sqrt(products.diagonal()[varies])
    r = np.abs(products[np.ix_(varies, varies)] / np.outer(length, length))
    np.fill_diagonal(r, 0.0)
    return float(min(r.max(initial=0.0), 1.0))
