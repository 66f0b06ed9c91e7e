"""Whatever numbers a layer has, its views draw them, into as many cells as there are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.statistics.frames import LayerInfo, Snapshot, Units
from tests.tuilab.viewer.saved import subject
from tests.tuilab.viewer.test_broken_numbers import LAYERS, NUMBERS, snapshots
from tuilab.charts.text import width
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.panels.layer import histograms
from tuilab.viewer.panels.layer.base import LayerViewState
from tuilab.viewer.panels.layer.views import VIEWS, layer_lines

CELLS, HEIGHTS = st.integers(20, 220), st.integers(5, 60)


@settings(max_examples=40, deadline=None)
@given(snapshots(), st.integers(1, LAYERS), st.sampled_from(histograms.MODES), CELLS, HEIGHTS)
def test_histograms_draw_any_numbers(
    shot: Snapshot, layer: int, mode: str, cells: int, height: int
) -> None:
    info = LayerInfo(layer, "tanh", "linear", 10, "tanh")
    made = subject(info, LayerViewState(layer), shot=shot)
    look = made.state
    while look.axis != mode:
        look = histograms.next_axis(subject(info, look, shot=shot))
    lines = layer_lines(subject(info, look, shot=shot), cells, height)
    assert len(lines) <= height
    assert all(width(line) <= cells for line in lines)


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(0, 2**32), CELLS, HEIGHTS)
def test_units_weights_and_normalisation_draw_any_numbers(
    pool: list[float], seed: int, cells: int, height: int
) -> None:
    generator = np.random.default_rng(seed)
    number = int(generator.integers(1, 300))

    def any_of(*shape: int) -> np.typing.NDArray[np.float64]:
        return generator.choice(np.array(pool), shape)

    with np.errstate(over="ignore", under="ignore"):
        mean = any_of(number).astype(np.float32)
    active, saturated = generator.random((2, number))
    dead = generator.random(number) < 0.5
    arrays = {name: any_of(number) for name in ("gamma", "beta", "running_mean", "running_var")}
    channels = int(generator.choice([1, 3, 5]))
    info = LayerInfo(
        1, "relu", "conv2d", number, "relu", normalization="batch_norm", sees=(3, 4, channels)
    )
    parameters = Parameters(3, {**arrays, "weight": any_of(12 * channels, number)})
    for view in VIEWS[1:]:
        look = LayerViewState(1, view=view.name, quantity=int(generator.integers(3)), page=3)
        made = subject(
            info, look, units=(3, Units(mean, active, saturated, dead)), parameters=parameters
        )
        assert view.offered(made)
        lines = layer_lines(made, cells, height)
        assert len(lines) <= height
        assert all(width(line) <= cells for line in lines)
