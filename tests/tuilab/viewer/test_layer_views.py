"""The panel of one layer, without an app."""

import re
from dataclasses import replace

import pytest

from engine.statistics.frames import TENSORS
from tests.tuilab.viewer.conftest import Follow, Record
from tests.tuilab.viewer.saved import subject_of
from tuilab.charts.distributions import Axis
from tuilab.charts.text import plain, width
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.layer.base import LayerViewState
from tuilab.viewer.panels.layer.histograms import GRID, axis_of, fixed, next_axis, turn
from tuilab.viewer.panels.layer.views import (
    KEYS,
    VIEWS,
    chosen,
    help_lines,
    keys,
    layer_lines,
    tabs,
)


def lines(store: RunStore, look: LayerViewState, cells: int = 116, height: int = 32) -> list[str]:
    found = layer_lines(subject_of(store, look), cells, height)
    assert len(found) <= height
    assert all(width(line) <= cells for line in found)
    return [plain(line) for line in found]


def test_all_six_tensors_are_there_with_their_numbers(store: RunStore) -> None:
    text = "\n".join(lines(store, LayerViewState(3)))
    for name in ("activation", "pre-activation", "dL/dA", "weights", "dL/dW", "update ΔW"):
        assert name in text
    assert store.snapshot is not None
    std = store.snapshot.field("activation", "std")[2]
    assert f"{std:.1e}" in text


def test_the_choice_of_a_tensor_goes_round(store: RunStore) -> None:
    look = LayerViewState()
    seen = [look := turn(subject_of(store, look), 1) for _ in GRID]
    assert {each.tensor for each in seen} == set(TENSORS)
    assert seen[-1] == LayerViewState()
    assert turn(subject_of(store, LayerViewState()), -1).tensor == GRID[-1]


def test_history_is_drawn_below_over_all_recorded_steps(record: Record, follow: Follow) -> None:
    recording = record(steps=1)
    for _ in range(9):
        recording.steps(1)
    store = follow(recording.folder)
    store.poll()
    history = store.history(2, "weight")
    assert history is not None
    assert history.steps.tolist() == list(range(10))
    assert history.histograms.shape == (10, 66)
    text = lines(store, LayerViewState(2, tensor="weight"))
    assert any("weights over time" in line and "mean and mean ± std" in line for line in text)
    narrow = lines(store, LayerViewState(2, tensor="weight"), cells=76, height=20)
    assert any("weights over time" in line for line in narrow)
    assert not any("mean ± std" in line for line in narrow)


def test_a_shared_axis_is_as_wide_as_the_widest_layer_needs(store: RunStore) -> None:
    assert store.snapshot is not None
    axes = [axis_of(LayerViewState(k), store.snapshot, "activation") for k in range(1, 11)]
    shared = axis_of(LayerViewState(10, axis="shared"), store.snapshot, "activation")
    assert shared.high == max(axis.high for axis in axes)
    assert axes[-1].high < shared.high  # activations shrink with depth here


def test_the_ends_of_an_axis_never_run_together(store: RunStore) -> None:
    narrow = lines(store, LayerViewState(3), cells=46, height=14)
    assert any(re.search(r"\de-\d", line) for line in narrow)
    assert not any(re.search(r"e-?\d+\.", line) for line in narrow)  # "−4.9e-44.9e-4"


def test_a_tensor_that_is_not_finite_says_so(store: RunStore) -> None:
    snapshot = store.snapshot
    assert snapshot is not None
    statistics = snapshot.statistics.copy()
    statistics[0, TENSORS.index("activation"), -1] = 12  # nonfinite
    store.snapshot = replace(snapshot, statistics=statistics)
    assert "12 not finite" in lines(store, LayerViewState(1))[2]


def test_the_axis_goes_round_and_the_title_says_which_is_on(store: RunStore) -> None:
    look, words = LayerViewState(), []
    for _ in range(5):
        words.append(lines(store, look)[0])
        look = next_axis(subject_of(store, look))
    expected = ("separate", "shared by all layers", "fixed at step 0", "log |x|")
    for line, what in zip(words, (*expected, expected[0]), strict=True):
        assert f"axis {what}" in line
        assert line.endswith("heights √")
    assert lines(store, LayerViewState(logarithmic=True))[0].endswith("heights log")
    assert sum("log |x|" in line for line in lines(store, LayerViewState(axis="log"))) >= 3


def test_a_fixed_axis_stays_what_it_was(record: Record, follow: Follow) -> None:
    recording = record(steps=1, gain=0.5)
    store = follow(recording.folder)
    store.poll()
    assert store.snapshot is not None
    look = fixed(LayerViewState(3), store.snapshot, (0.0, None))
    before = {tensor: axis_of(look, store.snapshot, tensor) for tensor in GRID}
    recording.network.learning_rate = 5.0
    recording.steps(3)
    store.poll()
    assert {tensor: axis_of(look, store.snapshot, tensor) for tensor in GRID} == before
    free = {tensor: axis_of(LayerViewState(3), store.snapshot, tensor) for tensor in GRID}
    assert free != before


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0)])
def test_a_non_linearity_with_a_range_is_held_at_it(
    bounds: tuple[float, float], store: RunStore
) -> None:
    assert store.snapshot is not None
    axis = Axis(*bounds)
    assert fixed(LayerViewState(), store.snapshot, bounds).axes["activation"] == axis
    assert fixed(LayerViewState(), store.snapshot, (0.0, None)).axes["activation"] != axis


def test_a_recorded_layer_without_pictures_or_normalisation_offers_two_views(
    store: RunStore,
) -> None:
    line = plain(tabs(subject_of(store, LayerViewState(2)), 116))
    assert line.startswith(" h histograms   u units ")
    assert not any(name in line for name in ("weights", "γ"))


def test_a_view_that_a_layer_has_not_gives_way_to_the_first(store: RunStore) -> None:
    subject = subject_of(store, LayerViewState(2, view="weights"))
    assert chosen(subject).name == "histograms"


def test_footer_and_help_name_the_keys_of_the_views(store: RunStore) -> None:
    found = keys(subject_of(store, LayerViewState(2, view="units")))
    assert {key.shown for key in found} == {"h", "u", "tab", *(key.shown for key in KEYS)}
    words = dict(help_lines())
    assert all(words[view.key] == view.help for view in VIEWS)
    assert "  x" in words
