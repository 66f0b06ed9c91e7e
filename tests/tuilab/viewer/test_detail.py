"""The panel of one layer, without an app."""

import re
from dataclasses import replace

from engine.frames import TENSORS
from tests.tuilab.viewer.conftest import Follow, Record
from tuilab.viewer.panels.detail import GRID, Look, axis_of, detail
from tuilab.viewer.store import RunStore
from tuilab.viewer.text import plain, width


def lines(store: RunStore, look: Look, cells: int = 116, height: int = 32) -> list[str]:
    assert store.snapshot is not None
    found = detail(look, store.snapshot, store.history(look.layer, look.tensor), cells, height)
    assert len(found) <= height
    assert all(width(line) <= cells for line in found)
    return [plain(line) for line in found]


def test_all_six_tensors_are_there_with_their_numbers(store: RunStore) -> None:
    text = "\n".join(lines(store, Look(3)))
    for name in ("activation", "pre-activation", "dL/dA", "weights", "dL/dW", "update ΔW"):
        assert name in text
    assert store.snapshot is not None
    std = store.snapshot.field("activation", "std")[2]
    assert f"{std:.1e}" in text


def test_the_chosen_tensor_is_marked_and_the_choice_goes_round() -> None:
    look = Look()
    seen = [look := look.cycle(1) for _ in GRID]
    assert {each.tensor for each in seen} == set(TENSORS)
    assert seen[-1] == Look()
    assert Look().cycle(-1).tensor == GRID[-1]


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
    text = lines(store, Look(2, "weight"))
    assert any("weights over time" in line and "mean and mean ± std" in line for line in text)
    narrow = lines(store, Look(2, "weight"), cells=76, height=20)
    assert any("weights over time" in line for line in narrow)
    assert not any("mean ± std" in line for line in narrow)


def test_a_shared_axis_is_as_wide_as_the_widest_layer_needs(store: RunStore) -> None:
    assert store.snapshot is not None
    axes = [axis_of(Look(k), store.snapshot, "activation") for k in range(1, 11)]
    shared = axis_of(Look(10, shared=True), store.snapshot, "activation")
    assert shared.high == max(axis.high for axis in axes)
    assert axes[-1].high < shared.high  # activations shrink with depth here


def test_the_ends_of_an_axis_never_run_together(store: RunStore) -> None:
    narrow = lines(store, Look(3), cells=46, height=14)
    assert any(re.search(r"\de-\d", line) for line in narrow)
    assert not any(re.search(r"e-?\d+\.", line) for line in narrow)  # "−4.9e-44.9e-4"


def test_a_tensor_that_is_not_finite_says_so(store: RunStore) -> None:
    snapshot = store.snapshot
    assert snapshot is not None
    statistics = snapshot.statistics.copy()
    statistics[0, TENSORS.index("activation"), -1] = 12  # nonfinite
    store.snapshot = replace(snapshot, statistics=statistics)
    assert "12 not finite" in lines(store, Look(1))[0]
