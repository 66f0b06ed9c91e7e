"""Series that grow, what is in sight of them, and their smoothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuilab.viewer.conftest import Record
from tuilab.charts.series import LAYER_POINTS, LayerSeries, Points, reduce, visible
from tuilab.charts.smoothing import smooth, smooth_ratio
from tuilab.charts.viewport import Viewport
from tuilab.record import LayerTraces, RunReader
from tuilab.viewer.curves.base import Scene
from tuilab.viewer.model.store import RunStore

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=1, max_size=300)


@given(VALUES, st.integers(1, 60), st.floats(0, 300), st.floats(0, 300))
def test_a_window_keeps_its_extremes(
    found: list[float], points: int, first: float, last: float
) -> None:
    values, steps = np.array(found), np.arange(len(found), dtype=np.float64)
    low, high = min(first, last), max(first, last)
    inside = values[(steps >= low) & (steps <= high)]
    part = visible(steps, (low, high))
    assert set(inside[np.isfinite(inside)]) <= set(values[part])
    assert len(values[part]) <= len(inside) + 2
    if not len(values[part]):
        return
    reduced = reduce(steps[part], values[part], points)
    assert len(reduced.x) <= max(points, 1)
    if np.isfinite(values[part]).any():
        assert np.nanmin(reduced.low) == np.nanmin(values[part])
        assert np.nanmax(reduced.high) == np.nanmax(values[part])


@pytest.mark.parametrize("strength", [0.6, 0.9, 0.99])
def test_smoothing_is_the_corrected_moving_average(strength: float) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    values[[3, 4, 500]] = np.nan, np.inf, np.nan
    total = weight = 0.0
    for value, got in zip(values, smooth(values, strength), strict=True):
        total, weight = strength * total, strength * weight
        if np.isfinite(value):
            total, weight = total + value, weight + 1
            assert got == pytest.approx(total / weight, rel=1e-9, abs=1e-12)
        else:
            assert np.isnan(got)


def test_no_smoothing_changes_nothing_but_what_is_no_number() -> None:
    np.testing.assert_array_equal(smooth(np.array([1.0, np.inf, 3.0]), 0.0), [1.0, np.nan, 3.0])


def test_ratios_are_smoothed_by_their_powers_of_ten() -> None:
    smoothed = smooth_ratio(np.array([1.0, 1e-4, 0.0]), 0.6)
    assert smoothed[1] == pytest.approx(10 ** (-4 / 1.6))
    assert np.isnan(smoothed[2])


def test_points_halve_where_there_are_too_many() -> None:
    points = Points(2, limit=4)
    for step in range(11):
        points.append(np.array([[step], [2.0 * step]]))
    assert points.stride == 2
    np.testing.assert_array_equal(points.table[0], [0.5, 2.5, 4.5, 6.5, 8.5])
    np.testing.assert_array_equal(points.table[1], 2 * points.table[0])


def test_layers_over_time_are_read_once_and_as_they_come(record: Record) -> None:
    recording = record(steps=1)
    recording.steps(1)
    with RunReader(recording.folder.database) as reader:
        traces = reader.layer_traces()
        newest = reader.snapshot()
        assert newest is not None
        np.testing.assert_array_equal(traces.steps, [0, 1])
        np.testing.assert_array_equal(traces.update_ratio[:, -1], newest.update_ratio)
        norms = newest.field("weight_grad", "norm")
        np.testing.assert_allclose(traces.gradient_norm[:, -1], norms)
        recording.steps(1)
        assert reader.layer_traces(1).steps.tolist() == [2]
        none = reader.layer_traces(2)
        assert (len(none.steps), none.update_ratio.shape) == (0, (0, 0))


def test_layer_series_have_a_total_and_a_bound() -> None:
    series = LayerSeries()
    norms = np.array([[3.0], [4.0]])
    for step in range(2 * LAYER_POINTS + 2):
        series.append(LayerTraces(np.array([float(step)]), norms / 10, norms))
    assert series.layers == 2
    assert len(series) == LAYER_POINTS + 1
    assert series.last_step == 2 * LAYER_POINTS + 1
    np.testing.assert_allclose(series.total_norm, 5.0)
    np.testing.assert_allclose(series.update_ratio[1], 0.4)


def test_the_store_asks_only_for_what_is_new(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record(steps=1)
    store = RunStore(recording.folder)
    store.poll()
    assert store.layer_series().last_step == 0
    asked: list[int] = []
    read = RunReader.layer_traces

    def counted(reader: RunReader, after_step: int = -1) -> LayerTraces:
        asked.append(after_step)
        return read(reader, after_step)

    monkeypatch.setattr(RunReader, "layer_traces", counted)
    store.layer_series()
    assert asked == []
    recording.steps(2)
    store.poll()
    assert (store.layer_series().last_step, asked) == (2, [0])
    store.close()


def test_a_series_counts_what_is_no_number(record: Record) -> None:
    recording = record(steps=0)
    recording.frame(0, np.array([1.0, np.nan, np.inf, 2.0]), np.zeros(4))
    store = RunStore(recording.folder)
    store.poll()
    assert store.series.broken.tolist() == [0, 1, 1, 0]
    assert store.series.values("learning_rate").tolist() == [0.01] * 4
    assert store.series.value("learning_rate", None) == 0.01
    assert Scene(store, (), Viewport()).window == (0.0, 3.0)
    store.close()
