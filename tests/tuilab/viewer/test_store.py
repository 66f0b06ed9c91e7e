"""The view model, over databases that RunWriter wrote; no app."""

from pathlib import Path

import numpy as np
import pytest

from engine.statistics.frames import Event, Floats
from tests.tuilab.viewer.conftest import Clock, Follow, Record
from tuilab.charts.series import POINTS, Series
from tuilab.record import Block
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model import store as module


def test_without_a_database_the_run_is_starting(follow: Follow, tmp_path: Path) -> None:
    store = follow(RunFolder(tmp_path))
    assert not store.poll()
    assert store.state == "starting"
    assert store.live


def test_a_process_that_ends_before_it_begins_has_failed(
    follow: Follow, tmp_path: Path, clock: Clock
) -> None:
    store = follow(RunFolder(tmp_path), lambda: 2, clock)
    assert store.poll().state
    assert store.state == "failed"
    assert "exit code 2" in store.message


def test_it_follows_a_live_run(follow: Follow, record: Record) -> None:
    recording = record(steps=3)
    store = follow(recording.folder)
    first = store.poll()
    assert first.series
    assert first.snapshot
    assert first.validations
    assert first.state
    assert (store.state, store.step, len(store.series)) == ("running", 3, 3)
    assert not store.poll()
    recording.steps(4, events=[recording.scale(1.25)])
    second = store.poll()
    assert second.series
    assert second.events
    assert not second.state
    assert store.series.steps.tolist() == list(range(7))
    assert [e.detail["key"] for e in store.events] == ["learning_rate"]
    assert [v.step for v in store.validations] == [3, 7]
    assert store.snapshot is not None
    assert store.snapshot.step == 6
    assert store.info.hyperparameters["learning_rate"] == pytest.approx(0.0125)


def test_looking_back_keeps_the_past_while_the_run_goes_on(follow: Follow, record: Record) -> None:
    recording = record(steps=1)
    for _ in range(4):
        recording.steps(1)
    store = follow(recording.folder)
    store.poll()

    def step() -> int:
        assert store.snapshot is not None
        return store.snapshot.step

    shown = []
    for by in (-1, -1, 1, -9, -1):
        store.look(by)
        shown.append((store.at, step()))
    assert shown == [(3, 3), (2, 2), (3, 3), (0, 0), (0, 0)]
    assert not store.look(-1)  # there is nothing before the start
    recording.steps(3)
    changes = store.poll()
    assert changes.series
    assert not changes.snapshot
    assert store.step == 8
    assert step() == 0
    assert store.look(99)
    assert (store.at, step()) == (None, 7)
    recording.steps(1)
    assert store.poll().snapshot
    assert step() == 8


def test_a_store_without_snapshots_has_no_past(follow: Follow, tmp_path: Path) -> None:
    assert not follow(RunFolder(tmp_path)).look(-1)


def test_the_first_snapshot_is_that_of_step_0(follow: Follow, record: Record) -> None:
    recording = record(steps=1)
    recording.steps(5)
    store = follow(recording.folder)
    store.poll()
    assert store.snapshot is not None
    assert store.first_snapshot is not None
    assert (store.first_snapshot.step, store.snapshot.step) == (0, 5)


def test_a_long_run_is_read_in_parts(
    follow: Follow, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCKS_A_POLL", 4)
    recording = record(steps=0)
    for first in range(10):
        recording.frame(first, np.array([1.0]), np.array([0.5]))
    recording.end("finished")
    store = follow(recording.folder)
    lengths = []
    for _ in range(4):
        store.poll()
        lengths.append(len(store.series))
        assert store.step == 10  # how far it is, is known at once
    assert lengths == [4, 8, 10, 10]


def test_series_grow_beyond_their_first_room(follow: Follow, record: Record) -> None:
    recording = record(steps=0)
    for first in (0, 1500, 3000):
        values = np.arange(first, first + 1500, dtype=float)
        recording.frame(first, values, values / 4500)
    store = follow(recording.folder)
    store.poll()
    np.testing.assert_array_equal(store.series.values("loss"), np.arange(4500.0))


def test_nan_losses_stay_nan(follow: Follow, record: Record) -> None:
    recording = record(steps=0)
    recording.frame(0, np.array([2.0, np.nan, np.inf]), np.zeros(3), state="diverged")
    store = follow(recording.folder)
    store.poll()
    np.testing.assert_array_equal(store.series.values("loss"), [2.0, np.nan, np.inf])
    assert store.state == "diverged"
    assert not store.live


def test_a_run_whose_worker_is_gone_was_killed(
    follow: Follow, record: Record, clock: Clock
) -> None:
    recording = record(steps=2)
    store = follow(recording.folder, clock=clock)
    store.poll()
    recording.drop()
    clock.now += 1.1
    store.poll()
    assert store.state == "running"  # one look is not enough: the last word may be on its way
    clock.now += 1.1
    assert store.poll().state
    assert store.state == "killed"
    assert not store.live


def test_a_killed_run_that_somebody_goes_on_with_lives_again(
    follow: Follow, record: Record, clock: Clock
) -> None:
    recording = record(steps=2)
    store = follow(recording.folder, clock=clock)
    recording.drop()
    for _ in range(3):
        store.poll()
        clock.now += 1.1
    assert store.state == "killed"
    recording.hold()
    assert store.poll().state
    assert (store.state, store.message) == ("running", "")


def test_what_a_resumed_run_took_back_is_forgotten(follow: Follow, record: Record) -> None:
    recording = record(steps=3)
    recording.writer.checkpoint_saved(3, "3.npz")
    recording.steps(4, events=[recording.scale(1.25), Event(6, 0.1, "diverged", {"step": 6})])
    store = follow(recording.folder)
    store.poll()
    store.look(-9)
    recording.writer.rewind(3)
    changes = store.poll()
    assert all((changes.series, changes.events, changes.validations, changes.snapshot))
    assert (store.step, store.series.steps.tolist()) == (3, [0, 1, 2])
    recording.made = 3
    recording.steps(2)  # its rows have the numbers of those that are gone
    store.poll()
    assert (store.step, store.series.steps.tolist()) == (5, [0, 1, 2, 3, 4])
    assert [v.step for v in store.validations] == [3, 5]
    assert (store.events, store.divergence, store.at) == ([], None, None)
    assert store.snapshot is not None
    assert store.snapshot.step == 4


def test_a_worker_that_ends_between_two_looks_was_not_killed(
    follow: Follow, record: Record, clock: Clock
) -> None:
    recording = record(steps=2)
    store = follow(recording.folder, clock=clock)
    store.poll()
    recording.drop()
    clock.now += 1.1
    store.poll()
    recording.end("finished")
    clock.now += 1.1
    store.poll()
    assert store.state == "finished"


def test_a_living_worker_is_looked_at_only_once_a_second(
    follow: Follow, record: Record, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[RunFolder] = []

    def look(folder: RunFolder) -> bool:
        looks.append(folder)
        return True

    monkeypatch.setattr(RunFolder, "is_alive", look)
    store = follow(record(steps=1).folder, clock=clock)
    for _ in range(30):
        store.poll()
        clock.now += 0.1
    assert len(looks) == 3


def test_a_file_that_is_no_database_is_unreadable_after_a_while(
    follow: Follow, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "run.db").write_text("this is not a database, and never was one")
    store = follow(RunFolder(tmp_path), clock=clock)
    store.poll()
    assert store.state == "starting"
    clock.now += 10
    assert store.poll().state
    assert store.state == "unreadable"
    assert "run.db" in store.message


def test_it_picks_up_a_database_that_comes_later(
    follow: Follow, record: Record, tmp_path: Path
) -> None:
    store = follow(RunFolder(tmp_path / "run0"))
    store.poll()
    record(steps=2)
    assert store.poll().series
    assert store.step == 2


def test_where_it_diverged(follow: Follow, record: Record) -> None:
    recording = record(steps=1)
    event = Event(1, 0.1, "diverged", {"layer": 4, "name": "4 relu", "tensor": "weight_grad"})
    recording.frame(1, np.array([np.nan]), np.zeros(1), events=[event], state="diverged")
    store = follow(recording.folder)
    store.poll()
    assert store.divergence == event


def block(first: int, loss: Floats) -> Block:
    return Block(first, first, 0.0, 0.0, 1.0, 0.0, {"loss": loss})


def test_a_long_series_is_kept_at_half_its_resolution_each_time_it_doubles() -> None:
    series = Series()
    total = 5 * POINTS + 12_345
    for first in range(0, total, 997):
        series.append(block(first, np.arange(first, min(first + 997, total), dtype=np.float64)))
    assert series.stride == 4
    assert len(series) <= 2 * POINTS
    np.testing.assert_allclose(
        series.values("loss"), series.steps
    )  # the mean loss of a point is its step
    assert np.diff(series.steps).max() <= series.stride + 1
    assert total - series.steps[-1] < 2 * series.stride + 1
    assert (series.first_loss, series.value("loss", None)) == (0, total - 1)


def test_a_gap_in_a_long_series_stays_where_nothing_is_finite() -> None:
    series = Series()
    loss = np.ones(2 * POINTS)
    loss[100:104] = np.nan
    loss[200] = np.nan
    series.append(block(0, loss))
    assert np.isnan(series.values("loss")[50:52]).all()
    assert np.isfinite(series.values("loss")[100])
