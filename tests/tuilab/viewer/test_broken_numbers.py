"""Whatever numbers a run ends with, the panels draw them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.statistics.frames import BINS, FIELDS, TENSORS, FirstWeights, LayerInfo, Snapshot
from tuilab.charts.strips import STYLES
from tuilab.charts.text import plain
from tuilab.record import RunInfo
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels.explanation import backward_words, forward_words
from tuilab.viewer.panels.gain import gain_lines
from tuilab.viewer.panels.layers import StripView, subtitle, table_lines

LAYERS = 5
LOOKS = [StripView(name, log=log) for name in STYLES for log in (False, True)]
NUMBERS = st.one_of(
    st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e-300, 1e300, -1e300, 5e-324, 1.0]),
    st.floats(-10, 10),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Draw statistics without any respect for what they mean."""
    pool = np.array(draw(st.lists(NUMBERS, min_size=1, max_size=8)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (LAYERS, len(TENSORS))
    power = 2.0 ** generator.integers(-120, 121, (*shape, 1))
    counts = generator.integers(0, 50, (*shape, BINS + 2))
    counts[generator.random(shape) < 0.2] = 0
    statistics = generator.choice(pool, (*shape, len(FIELDS)))
    statistics[..., FIELDS.index("count")] = generator.integers(0, 10**6, shape)
    return Snapshot(
        step=3,
        epoch=0.5,
        statistics=statistics,
        histograms=counts,
        ranges=np.concatenate([np.where(generator.random(power.shape) < 0.5, 0, -power), power], 2),
        dead_fraction=generator.choice(pool, LAYERS),
        update_ratio=generator.choice(pool, LAYERS),
        asymmetry=generator.choice(pool, LAYERS),
        one_signed=generator.choice(pool, LAYERS),
    )


INFO = RunInfo(
    activation="relu",
    initializer="he",
    input_std=1.0,
    layers=tuple(
        LayerInfo(k + 1, "relu", "linear", 10, "relu", first=FirstWeights(10, 10, 0.3))
        for k in range(LAYERS)
    ),
)


@settings(max_examples=150, deadline=None)
@given(snapshots(), st.integers(30, 220), st.integers(1, 4))
def test_the_panels_draw_any_numbers(snapshot: Snapshot, cells: int, height: int) -> None:
    table = Table.of(snapshot, INFO, broken=2)
    lines = table_lines(table, cells, height)
    assert all(len(plain(line)) <= cells for line in lines)
    for look in LOOKS:
        drawn = table_lines(table, cells, height, look)
        assert all(len(plain(line)) <= cells for line in drawn)
    assert len(subtitle(table, "", cells)) <= cells
    assert forward_words(table, INFO, cells)
    assert backward_words(table, cells)
    gains = gain_lines(table, INFO, snapshot, cells, 10 * height)
    assert all(len(plain(line)) <= cells for line in gains)
