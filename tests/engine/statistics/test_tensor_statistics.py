"""What is measured of the inputs."""

import numpy as np
import pytest

from engine.data.input_statistics import CORRELATED, describe

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("examples", [50, 3000])  # one block, several
def test_they_are_those_of_numpy(examples: int, dtype: type) -> None:
    x = GENERATOR.normal(100, [1, 2, 0.1, 5], (examples, 4)) @ GENERATOR.normal(size=(4, 6))
    found = describe(x.astype(dtype))
    exact = 1e-9 if dtype is np.float64 else 1e-4
    mean, std = x.mean(axis=0), x.std(axis=0)
    assert found.mean == pytest.approx((mean.min(), mean.max()), rel=exact)
    assert found.std == pytest.approx((std.min(), std.max()), rel=exact)
    assert found.spread == pytest.approx(x.std(), rel=exact)
    assert found.offset == pytest.approx(x.mean(), rel=exact, abs=1e-12)
    r = np.abs(np.corrcoef(x, rowvar=False) - np.eye(6))
    assert found.correlation == pytest.approx(r.max(), rel=exact)


def test_features_that_do_not_vary_are_correlated_with_none() -> None:
    x = np.zeros((20, 3))
    assert describe(x).correlation == 0
    x[:, 1] = GENERATOR.normal(size=20)
    found = describe(x)
    assert (found.correlation, found.std[0]) == (0, 0)


def test_of_many_features_some_spread_over_all_are_looked_at() -> None:
    x = GENERATOR.normal(size=(500, 4 * CORRELATED))
    assert describe(x).correlation < 0.5
    x[:, -1] = x[:, 0]  # the first and the last are among them
    assert describe(x).correlation == pytest.approx(1)


def test_one_feature_has_no_correlation() -> None:
    assert describe(GENERATOR.normal(size=(20, 1))).correlation == 0
