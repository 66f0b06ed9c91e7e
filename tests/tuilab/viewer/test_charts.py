"""Strips and number formats, against literal text."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.statistics.frames import BINS, FIELDS
from tests.tuilab.support import snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram, common_axis, rebin, strip


def make(counts: dict[int, float], low: float = -1.0, high: float = 1.0, **more: Any) -> Histogram:
    """Build a histogram from bin index (−1: below, BINS: above) to count."""
    bins = np.zeros(BINS + 2)
    for index, count in counts.items():
        bins[index + 1] = count
    return Histogram(bins, low, high, **({"mean": 0.0, "std": 1.0} | more))


def test_a_strip_has_square_root_heights_and_leaves_an_eighth_free() -> None:
    h = make({0: 49, 16: 36, 32: 1, 63: 4})
    assert strip(h, Axis(-1, 1), 4) == ["▇▆▁▂"]


def test_a_taller_strip_stacks_blocks() -> None:
    h = make({0: 100, 32: 25})
    assert strip(h, Axis(-1, 1), 2, rows=2) == ["▇ ", "██"]


def test_a_narrow_layer_takes_little_of_the_common_axis() -> None:
    wide = make(dict.fromkeys(range(BINS), 10.0), -1.0, 1.0)
    narrow = make(dict.fromkeys(range(BINS), 10.0), -0.25, 0.25)
    axis = common_axis([wide, narrow])
    assert axis == Axis(-1, 1)
    assert strip(narrow, axis, 8) == ["   ▇▇   "]
    assert strip(wide, axis, 8) == ["▇▇▇▇▇▇▇▇"]


def test_rebinning_nested_ranges_is_exact() -> None:
    rng = np.random.default_rng(0)
    counts = dict(enumerate(rng.integers(0, 100, BINS).astype(float)))
    h = make(counts, 0.0, 0.5)
    merged = rebin(h, Axis(0, 2), BINS)
    expected = h.bins[1:-1].reshape(-1, 4).sum(axis=1)
    np.testing.assert_array_equal(merged[:16], expected)
    assert merged[16:].sum() == 0


def test_the_axis_shrinks_to_where_the_values_are() -> None:
    h = make({31: 995, 32: 995, 0: 10}, -8.0, 8.0)
    assert common_axis([h]) == Axis(-0.25, 0.25)


def test_the_axis_of_tanh_shows_how_far_saturation_is() -> None:
    assert common_axis([make({31: 10, 32: 10})] * 2) == Axis(-1, 1)


def test_one_sided_ranges_begin_at_zero() -> None:
    assert common_axis([make({0: 5, 63: 5}, 0.0, 4.0)]) == Axis(0, 4)


def test_exact_zeros_do_not_press_the_rest_flat() -> None:
    positive = dict.fromkeys(range(BINS), 1.0)
    with_zeros = make(positive | {0: 1001.0}, 0.0, 1.0, zeros=1000.0)
    assert strip(with_zeros, Axis(0, 1), 4) == ["▇▇▇▇"]


def test_without_spread_there_is_one_spike_at_the_value() -> None:
    h = make({48: 100}, std=0.0, mean=0.5)
    assert strip(h, Axis(-1, 1), 8) == ["      ▇ "]


def test_nonfinite_values_show_beside_and_instead_of_the_rest() -> None:
    some = make({0: 49, 32: 49}, nonfinite=3.0)
    assert strip(some, Axis(-1, 1), 4) == ["▇ ▇⊘"]
    nothing = make({}, nonfinite=3.0)
    assert strip(nothing, Axis(-1, 1), 18) == ["⊘ nothing finite  "]
    assert strip(nothing, Axis(-1, 1), 8, 2) == [" " * 8, "⊘ NaN   "]


def test_values_beyond_the_axis_pile_up_at_its_end_unless_they_are_few() -> None:
    many = make({0: 50, BINS: 50}, max=1.5)
    assert rebin(many, Axis(-1, 1), 4).tolist() == [50, 0, 0, 50]
    few = make({0: 999, BINS: 1}, max=1.5)
    assert rebin(few, Axis(-1, 1), 4).tolist() == [999, 0, 0, 0]


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (formats.sci, 0.4, "4.0e-01"),
        (formats.sci, -0.4, "-4.0e-01"),
        (formats.sci, math.nan, "–"),
        (formats.percent, 0.5, "50%"),
        (formats.percent, 0.004, "0.4%"),
        (formats.percent, 0.0999, "10%"),
        (formats.percent, 0.0, "0%"),
        (formats.percent, 1.0, "100%"),
        (formats.factor, 0.714, "×0.71"),
        (formats.factor, 9.996, "×10.0"),
        (formats.factor, 123.4, "×123"),
        (formats.factor, 0.0, "×0.00"),
        (formats.factor, 2e-6, "×2e-6"),
        (formats.factor, 4.2e7, "×4e7"),
        (formats.factor, math.inf, "∞"),
        (formats.log10, 1e-3, "−3.0"),
        (formats.log10, 0.0, "−∞"),
        (formats.power, 3.2e-4, "10⁻³·⁵"),
        (formats.rate, 0.0125, "1.25e-2"),
        (formats.number, 0.9, "0.9"),
        (formats.number, 12345.6, "1.23e4"),
        (formats.significant, 2.1, "2.10"),
        (formats.significant, 123.0, "123"),
        (formats.significant, math.nan, "–"),
        (formats.count, 1240, "1\u2009240"),
        (formats.short, 2.0, "2"),
        (formats.short, 2.0**-13, "1.2e-4"),
    ],
)
def test_numbers(function: Any, value: float, text: str) -> None:
    assert function(value) == text


def test_what_lies_beyond_the_bins_tails_off_to_the_extreme() -> None:
    h = make({63: 70, BINS: 30}, 0.0, 1.0, max=3.0)
    assert common_axis([h]) == Axis(0, 4)
    assert rebin(h, Axis(0, 4), 4).tolist() == [70, 22.5, 7.5, 0]
    left = make({0: 70, -1: 30}, -1.0, 1.0, min=-2.0)
    assert rebin(left, Axis(-2, 2), 4).tolist() == [30, 70, 0, 0]


def test_logarithmic_heights_show_a_single_value_beside_thousands() -> None:
    h = make({0: 9999, 16: 99, 32: 1})
    assert strip(h, Axis(-1, 1), 4) == ["▇▁  "]
    assert strip(h, Axis(-1, 1), 4, height=charts.logarithm) == ["▇▄▁ "]


def test_a_heat_map_has_a_column_each_and_the_largest_values_at_the_top() -> None:
    low, both = make({0: 100}), make({0: 1, 63: 100})
    flat = make({48: 7}, std=0.0, mean=0.5)
    broken = make({}, nonfinite=3.0)
    assert charts.heat([low, both, flat, broken], Axis(-1, 1), 4) == [
        " ██⊘",
        "   ⊘",
        "   ⊘",
        "█· ⊘",
    ]


def test_a_logarithmic_axis_folds_both_signs_and_has_an_octave_a_step() -> None:
    axis = Axis(-4.0, 4.0).of_magnitudes()
    np.testing.assert_allclose(axis.edges(8), [4 / 2**k for k in range(8, -1, -1)])
    uniform = Histogram(np.array([0.0, *[10.0] * 64, 0.0]), -4.0, 4.0, min=-4.0, max=4.0)
    counts = charts.rebin(uniform, axis, 8)
    np.testing.assert_allclose(counts[-4:], [40, 80, 160, 320])  # twice as many each octave
    assert charts.smaller(uniform, axis) == pytest.approx(1 / 256)
    one_sided = Histogram(np.array([0.0, *[10.0] * 64, 0.0]), 0.0, 4.0, min=0.0, max=4.0)
    np.testing.assert_allclose(charts.rebin(one_sided, axis, 8), counts, atol=1e-9)


def test_zeros_are_counted_in_the_sample_that_the_bins_count() -> None:
    shot = snapshot(0)
    statistics = shot.statistics.copy()
    statistics[0, 0, FIELDS.index("count")] = 1e6
    statistics[0, 0, FIELDS.index("zero_fraction")] = 0.5
    h = charts.histogram(replace(shot, statistics=statistics), 0, "activation")
    assert h.zeros == h.total / 2
