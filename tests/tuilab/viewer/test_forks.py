"""Branching off by key: where a fork would begin, the dialog, and a fork of a real worker."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.widgets import Input

from engine.statistics.frames import Event
from tests.tuilab.support import (
    FOREVER,
    describe,
    kill_workers,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.charts.series import Series
from tuilab.errors import RunError
from tuilab.process.launch import Options, Worker, start
from tuilab.record import Block, Fork, RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model.other_runs import OtherRuns
from tuilab.viewer.runs import Launchers
from tuilab.viewer.screens.fork_dialog import ForkScreen, plan, values_at


def changed(step: int, previous: float, value: float, key: str = "learning_rate") -> Event:
    return Event(step, 0.0, "set", {"key": key, "previous": previous, "value": value})


def test_values_are_those_that_stood_at_the_step() -> None:
    now = {"learning_rate": 0.4, "momentum": 0.9}
    events = [changed(10, 0.1, 0.2), Event(12, 0.0, "pause"), changed(20, 0.2, 0.4)]
    for step, rate in ((0, 0.1), (10, 0.1), (11, 0.2), (20, 0.2), (21, 0.4)):
        assert values_at(events, now, step) == {"learning_rate": rate, "momentum": 0.9}


def checkpointed(recording: Recording, *steps: int) -> None:
    recording.folder.checkpoints.mkdir(exist_ok=True)
    for step in steps:
        file = recording.folder.checkpoints / f"step-{step}.safetensors"
        file.touch()
        recording.writer.checkpoint_saved(step, file.name)


def test_where_a_fork_begins_is_said_in_words(record: Record, follow: Follow) -> None:
    recording = record(steps=1)
    recording.steps(20, events=[recording.scale(2.0)])
    checkpointed(recording, recording.made)
    recording.steps(20)
    store = follow(recording.folder)
    with pytest.raises(RunError, match="nothing to fork yet"):
        plan(store)
    store.poll()
    here = plan(store)
    assert (here.at, here.where[:33]) == (None, "from now, about step 41: a checkp")
    store.look(-1)
    assert store.at == 20
    early = plan(store)
    assert (early.at, early.where) == (
        *(20, "from the start: there is no checkpoint before step 20"),
    )
    assert (early.values["learning_rate"], here.values["learning_rate"]) == (0.01, 0.02)
    recording.end("stopped")
    store.look(1)
    store.poll()
    ended = plan(store)
    assert ended.at is None
    assert ended.where == "from the checkpoint at step 21, the last before step 41"
    assert ended.values["learning_rate"] == 0.02


def test_a_series_begins_anywhere_and_shares_its_values() -> None:
    series = Series()
    loss = np.arange(10.0)
    series.append(Block(1, 0, 0.0, 0.0, 0.0, 0.0, {"loss": loss}))
    part = series.since(7)
    assert part.steps.tolist() == part.values("loss").tolist() == [7, 8, 9]
    assert (part.first_loss, len(part)) == (0, 3)
    assert (part.value("loss", 8), part.value("loss", None)) == (8, 9)
    assert len(series.since(10)) == 0


def test_beside_its_parent_a_fork_begins_where_it_branched_off(record: Record) -> None:
    recording = record(steps=9)
    describe(recording.writer, fork=Fork("parent", 6, {"learning_rate": 0.1}))
    others = OtherRuns([recording.folder])
    others.poll()
    (fork,) = others
    assert fork.name == "fork@6 lr 0.1"
    assert fork.series.steps.tolist() == [6, 7, 8]
    others.close()


def forker(into: RunFolder) -> tuple[list[dict[str, Any]], Callable[..., Worker]]:
    calls: list[dict[str, Any]] = []

    def fork(folder: RunFolder, options: Options, **how: Any) -> Worker:
        calls.append({"folder": folder} | how)
        return Worker(into)

    return calls, fork


async def test_a_fork_with_changes_joins_the_runs(record: Record, client: FakeClient) -> None:
    old, new = record(steps=7), record(steps=9)
    describe(new.writer, fork=Fork(old.folder.name, 5, {"momentum": 0.5}))
    calls, fork = forker(new.folder)
    async with viewing(old.folder, client, launchers=Launchers(fork=fork)) as (app, pilot):
        await pilot.press("f")
        await pilot.pause()
        shown = text(app)
        assert "from now, about step 7: a checkpoint is saved" in shown
        assert "start the fork, with nothing changed" in shown
        await pilot.press("down", "down", "enter", *"0.5", "enter")
        await pilot.pause()
        assert "start the fork, with momentum changed" in text(app)
        assert "0.9  → 0.5" in text(app)
        await pilot.press("enter")
        await sent(app)
        await settle(app, pilot)
        assert calls == [{"folder": old.folder, "at": None, "sets": ["optimizer.momentum=0.5"]}]
        assert client.sent == []  # the parent goes on
        assert [run.folder for run in app.session.runs] == [old.folder, new.folder]
        assert app.store.folder == new.folder
        assert "xavier_relu · fork@5 momentum 0.5" in text(app)
        assert "─ run0" in text(app)
        assert "v next variant" in text(app)
        await pilot.press("v")
        await settle(app, pilot)
        assert app.store.folder == old.folder
        assert "─ fork@5 momentum 0.5" in text(app)


async def test_a_fork_may_begin_in_the_past_and_change_nothing(
    record: Record, client: FakeClient
) -> None:
    old, new = record(steps=7), record(steps=9)
    old.steps(20)
    calls, fork = forker(new.folder)
    async with viewing(old.folder, client, launchers=Launchers(fork=fork)) as (app, pilot):
        await pilot.press("left", "f", "enter")
        await sent(app)
        await settle(app, pilot)
        assert calls == [{"folder": old.folder, "at": 6, "sets": []}]


async def test_a_value_set_back_is_no_change_and_escape_starts_nothing(
    record: Record, client: FakeClient
) -> None:
    calls, fork = forker(RunFolder(Path("nowhere")))
    async with viewing(record(steps=7).folder, client, launchers=Launchers(fork=fork)) as (
        app,
        pilot,
    ):
        await pilot.press("f", "down", "enter", *"0.5", "enter", "down", "enter")
        assert app.screen.query_one(Input).placeholder == "0.5"
        await pilot.press(*"0.01", "enter")
        screen = app.screen
        assert isinstance(screen, ForkScreen)
        assert screen.changes == {}
        await pilot.press("down", "enter", "escape", "escape")
        await sent(app)
        assert (calls, len(app.screen_stack)) == ([], 1)


async def test_a_fork_that_fails_is_told(record: Record, client: FakeClient) -> None:
    def fork(folder: RunFolder, options: Options, **how: Any) -> Worker:
        raise RunError("cannot write the run folder")

    recording = record(steps=3)
    async with viewing(recording.folder, client, launchers=Launchers(fork=fork)) as (app, pilot):
        await pilot.press("f", "enter")
        await sent(app)
        await pilot.pause()
        assert "cannot write the run folder" in [n.message for n in app._notifications]
        assert len(app.session.runs) == 1
    async with viewing(record(steps=0).folder, client, launchers=Launchers(fork=fork)) as (
        app,
        pilot,
    ):
        await pilot.press("f")
        assert "nothing to fork yet" in str([n.message for n in app._notifications])


async def test_a_living_run_is_forked_and_both_go_on(tmp_path: Path) -> None:
    table = small(train={"steps": FOREVER, "checkpoint_every": FOREVER})
    parent = start(load(write_scenario(tmp_path / "s.toml", table)), tmp_path / "p", Options())
    try:
        wait_for(lambda: steps_made(parent.folder) > 20)
        app = ViewerApp(parent, make_client=ControlClient)
        async with app.run_test(size=(160, 48)) as pilot:
            while not app.store.step or app.store.info.phase == "loading data":
                await pilot.pause(0.05)
            await pilot.press("f", "down", "enter", *"0.01", "enter", "enter")
            while app.store.folder == parent.folder or app.store.info.fork is None:
                await pilot.pause(0.05)
            fork = app.store.info.fork
            assert fork.changes == {"learning_rate": 0.01}
            while app.store.step <= fork.step:
                await pilot.pause(0.05)
            before = steps_made(parent.folder)
            await asyncio.sleep(0.3)
            assert steps_made(parent.folder) > before
            with RunReader(parent.folder.database) as reader:
                kinds = [event.kind for _, event in reader.events() if event.kind != "finding"]
            assert "checkpoint" in kinds
        app.store.close()
    finally:
        kill_workers(tmp_path)
