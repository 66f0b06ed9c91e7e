"""The window that curves are looked at through."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tuilab.charts.viewport import LEAST, Viewport

ENDS = st.floats(1, 1e6)


def test_zooming_keeps_the_step_below_the_pointer_where_it_is() -> None:
    viewport = Viewport().zoom(0.5, 200.0, 1000.0)
    assert viewport.window(1000.0) == (100.0, 600.0)
    assert viewport.zoom(2.0, 200.0, 1000.0) == Viewport()


def test_at_the_newest_step_it_follows() -> None:
    viewport = Viewport().zoom(0.1, 1000.0, 1000.0)
    assert viewport.window(1000.0) == (900.0, 1000.0)
    assert viewport.window(1500.0) == (1400.0, 1500.0)
    held = viewport.pan(-0.5, 1000.0)
    assert held.window(1000.0) == held.window(1500.0) == (850.0, 950.0)
    assert held.pan(6.0, 1500.0).right == math.inf


def test_panning_stops_at_the_first_step_and_needs_a_zoom() -> None:
    assert Viewport().pan(0.5, 100.0) == Viewport()
    assert Viewport().zoom(0.1, 50.0, 1000.0).pan(-9.0, 1000.0).window(1000.0) == (0.0, 100.0)


def test_the_axis_and_the_smoothing_go_round() -> None:
    viewport = Viewport()
    assert viewport.other_axis(logarithmic=True).logarithmic is False
    assert viewport.other_axis(logarithmic=False).logarithmic is True
    assert viewport.other_axis(logarithmic=True).other_axis(logarithmic=False) == viewport
    seen = []
    for _ in range(4):
        viewport = viewport.smoother()
        seen.append(viewport.smoothing)
    assert seen == [0.6, 0.9, 0.99, 0.0]
    assert Viewport(span=10.0, right=20.0, smoothing=0.9).reset() == Viewport(smoothing=0.9)


@given(
    st.lists(
        st.tuples(st.sampled_from(["zoom", "pan"]), st.floats(0.1, 10), ENDS, ENDS), max_size=8
    )
)
def test_a_window_never_leaves_the_run(moves: list[tuple[str, float, float, float]]) -> None:
    viewport, newest = Viewport(), 1.0
    for move, amount, at, more in moves:
        newest = max(newest, more)  # a run only grows
        viewport = (
            viewport.zoom(amount, at, newest)
            if move == "zoom"
            else viewport.pan(amount - 5, newest)
        )
        low, high = viewport.window(newest)
        assert 0 <= low < high <= newest
        assert high - low >= min(LEAST, newest) * (1 - 1e-9)
