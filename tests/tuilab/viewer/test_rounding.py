"""Pictures do not hang on last bits, which differ from processor to processor."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.statistics.frames import BINS
from tuilab.charts import axes, bars, formats, plot, strips
from tuilab.charts import color_scales as ramps
from tuilab.charts import distributions as charts
from tuilab.charts import event_markers as marks
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.event_markers import EventMarker
from tuilab.charts.images import picture
from tuilab.charts.rounding import apart, settled
from tuilab.charts.series import Reduced
from tuilab.viewer.panels.header import progress
from tuilab.viewer.search.charts import importance

Numbers = Sequence[float]


def histograms(x: Numbers) -> list[Histogram]:
    """A spread one, and a spike: with these numbers as their statistics."""
    bins = np.zeros(BINS + 2)
    bins[[0, 1, 17, 18, 33, 64, 65]] = 5, 1, 80, x[3] * 10, 9, 700, 3
    spread = Histogram(
        bins, -1.0, 1.0, mean=x[0], std=x[1], min=-1 - x[2], max=1 + x[1], zeros=5 + x[2]
    )
    return [spread, Histogram(bins, -1.0, 1.0, mean=x[0], std=0.0)]


def chart(x: Numbers, *, logarithmic: bool) -> plot.Chart:
    y = np.array(x[1:])
    data = Reduced(np.linspace(0, x[0], len(y)), y / 2, y, y)
    return plot.Chart(
        [plot.Curve(data, "train"), plot.Curve(data, "train", band=True)],
        [EventMarker(x[0] * share, "◆", "lr", "update") for share in (0.25, 0.5, 1)],
        limits=(1.0, 2.0) if not logarithmic else None,
        logarithmic=logarithmic,
        cursor=x[0] / 2,
        broken=np.array([x[0] / 4]),
    )


def drawn(h: Sequence[Histogram], axis: Axis) -> Any:
    return [way(one, axis, 12, 2) for one in h for way in strips.STYLES.values()], charts.heat(
        [*h], axis, 6
    )


CASES: dict[str, Callable[[Numbers], Any]] = {
    "gain": lambda x: [bars.gain_bar(x[0], x[1], span, 11) for span in (2.0, 4.0, 10.0)],
    "strips": lambda x: drawn(histograms(x), Axis(-2.0, 2.0)),
    "strips on another axis": lambda x: drawn(histograms(x), Axis(-x[3], x[3])),
    "strips of magnitudes": lambda x: drawn(histograms(x), Axis(x[2] / 100, x[2], log=True)),
    "common axis": lambda x: charts.common_axis(histograms(x)),
    "decades of magnitudes": lambda x: strips.log_axis(histograms(x)[1:]),
    "ticks": lambda x: [text for _, text in axes.ticks(-x[0], x[1], 4, logarithmic=False)],
    "decades": lambda x: [
        text
        for high in (x[1], 3 * x[1])
        for _, text in axes.ticks(math.log10(x[0]) - high, math.log10(x[0]), 4, logarithmic=True)
    ],
    "axis of steps": lambda x: axes.step_axis((0.0, 100 * x[0]), 4, 60),
    "axis of decades": lambda x: axes.decade_axis((-x[0], x[1]), 4, 60),
    "curve": lambda x: plot.draw(chart(x, logarithmic=False), 40, 12),
    "logarithmic curve": lambda x: plot.draw(chart(x, logarithmic=True), 40, 12),
    "logarithm or not": lambda x: plot.spans_decades(np.array([x[0], 100 * x[0]])),
    "cursor": lambda x: plot.paint(chart(x, logarithmic=False), 40, 12).with_cursor(x[0] / 2),
    "bars": lambda x: bars.about(np.array(x[1:]), x[0], "update", 30, 4),
    "marks": lambda x: marks.marker_line(
        [EventMarker(step, "▾", "", "update") for step in x[1:]], (0.0, 2 * x[0]), 3, 41
    ),
    "colours": lambda x: [ramps.step(number) for number in x],
    "weights": lambda x: picture(np.array(x)[:, None, None]),
    "coloured weights": lambda x: picture(np.array([x[:3], x[1:4]])[:, None, :]),
    "progress": lambda x: progress(min(x[0], 1.0), 12),
    "importance": lambda x: importance({str(n): min(v, 1.0) for n, v in enumerate(x)}, 60),
    "text": lambda x: [
        write(number)
        for number in x
        for write in (
            formats.sci, formats.percent, formats.factor, formats.log10, formats.power,
            formats.rate, formats.number, formats.significant, formats.short,
        )
    ],
}  # fmt: skip

ratios = st.builds(lambda a, b: a / b, st.integers(1, 400), st.sampled_from([1, 2, 3, 8, 80, 400]))
on_borders = st.one_of(
    ratios,
    st.builds(math.sqrt, ratios),
    st.builds(lambda k: 2.0 ** (k / 8), st.integers(-32, 32)),
    st.builds(lambda k: 10.0 ** (k / 4), st.integers(-8, 8)),
    st.sampled_from([0.0005, 0.005, 0.125, 0.1245, 9.995, 99.95, 999.5]),
)


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
@settings(max_examples=20, deadline=None)
@example([math.sqrt(0.5)] * 5, [-1] * 5)
@example([0.5, 0.25, 1.0, 1.0, 1.0], [1, -1, 1, 0, -1])
@given(
    st.lists(on_borders, min_size=5, max_size=5),
    st.lists(st.sampled_from([-1, 0, 1]), min_size=5, max_size=5),
)
def test_a_last_bit_more_or_less_leaves_a_picture_as_it_is(
    draw: Callable[[Numbers], Any], numbers: list[float], bits: list[int]
) -> None:
    moved = [math.nextafter(x, x + bit) for x, bit in zip(numbers, bits, strict=True)]
    assert draw(moved) == draw(numbers)


def test_what_can_be_seen_is_still_rounded_where_it_was() -> None:
    assert settled(2.5 - 1e-8) < 2.5 <= settled(2.5 - 1e-12)
    np.testing.assert_array_equal(settled(np.array([0.1 + 0.2, math.inf])), [0.3, math.inf])
    assert math.isnan(settled(math.nan))
    assert apart(1.0, 1.0 + 1e-8)
    assert not apart(1.0, 1.0 + 1e-12)
    assert not apart(0.0, 0.0)
