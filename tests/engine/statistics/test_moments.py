"""Moments of values that are hard to square: far from 0, huge, tiny, or not finite."""

from typing import Any

import numpy as np
import pytest

from engine.backends import NumPyBackend, make_backend
from engine.backends.base import Backend
from engine.statistics.frames import FIELDS
from engine.statistics.tensor_statistics import StatisticsTable, TensorSource

MEAN, STD, NONFINITE = (FIELDS.index(name) for name in ("mean", "std", "nonfinite"))
GENERATOR = np.random.default_rng(0)


@pytest.fixture(params=["formulas", "kernels"])
def compiled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "kernels")


def measure(values: Any, compiled: bool) -> Any:
    """Return the moments of values, by the kernel where it does not leave them to the formulas."""
    name = values.dtype.name
    backend: Backend = make_backend("numpy", name) if compiled else NumPyBackend(name)
    table = StatisticsTable(backend, [TensorSource(values)])
    if compiled and not table.compiled:
        pytest.skip("there are no compiled kernels")
    table.measure(0, 1)
    table.complete(0, 1)
    return table.statistics[0]


@pytest.mark.parametrize("count", [1000, 1 << 17, 300_000])  # of one block, and of several
@pytest.mark.parametrize("mean", [1e3, -1e5, 1e6, 1e7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_much_larger_than_the_std(
    dtype: type, mean: float, count: int, compiled: bool
) -> None:
    values: Any = GENERATOR.normal(mean, 1, count).astype(dtype)
    row, exact = measure(values, compiled), values.astype(np.longdouble)
    assert row[STD] == pytest.approx(float(exact.std()), rel=1e-4)
    assert row[MEAN] == pytest.approx(float(exact.mean()), abs=1e-5)


def test_blocks_with_means_far_apart(compiled: bool) -> None:
    values = np.concatenate([np.full(1 << 17, 1e6), GENERATOR.normal(-1e6, 1, 1 << 17)])
    row = measure(values.astype(np.float32), compiled)
    assert row[STD] == pytest.approx(1e6, rel=1e-6)
    assert row[MEAN] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("scale", [1e308, 1e200, 1e152, 1e-152, 1e-160, 1e-200, 1e-318])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_float64_values_whose_squares_overflow_or_vanish(
    scale: float, offset: float, compiled: bool
) -> None:
    values = np.clip(GENERATOR.normal(offset, 0.2, 1000), -1, 1)
    row = measure(values * scale, compiled)
    assert row[MEAN] / scale == pytest.approx(values.mean(), rel=1e-3, abs=1e-9)
    assert row[STD] / scale == pytest.approx(values.std(), rel=1e-3)
    assert row[NONFINITE] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_equal_values_that_are_infinite_have_no_std(
    value: float, dtype: type, compiled: bool
) -> None:
    row = measure(np.full(50, value, dtype), compiled)
    assert row[MEAN] == value
    assert np.isnan(row[STD])
    assert row[NONFINITE] == 50


@pytest.mark.parametrize("value", [0.1, 1e30, 1e-40])
def test_equal_values_have_their_own_mean_and_no_std(value: float, compiled: bool) -> None:
    values = np.full(200_000, value, np.float32)
    row = measure(values, compiled)
    assert (row[MEAN], row[STD]) == (float(values[0]), 0.0)
