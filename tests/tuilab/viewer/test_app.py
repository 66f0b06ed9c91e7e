"""The app through Pilot: every state, every size; the worker's end is a fake."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from engine.statistics.frames import Event
from tests.tuilab.support import describe
from tests.tuilab.viewer.conftest import Clock, FakeClient, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.errors import RunError, ViewError
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp, view
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.store import RunStore


async def test_a_running_run_fills_one_screen(record: Record, client: FakeClient) -> None:
    recording = record(steps=1)
    recording.steps(30, events=[recording.scale(1.25)])
    async with viewing(recording.folder, client) as (app, _):
        shown = text(app)
        for part in ("xavier_relu", "▶ running  step 31", "─ Loss", "─ Accuracy", "─ Explanation",
                     "─ Layers", " 1 relu", "10 relu", "output", "activations shrink", "▾ lr ×1.25",
                     "gain per layer: forward ×", "space pause", "q leave"):  # fmt: skip
            assert part.strip() in shown, part


async def test_a_small_terminal_has_tabs(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client, size=(80, 24)) as (app, pilot):
        assert "─ Loss" in text(app)
        assert "10 relu" not in text(app)
        await pilot.press("2")
        await settle(app, pilot)
        assert "10 relu" in text(app)
        assert "output" in text(app)
        await pilot.press("tab", "shift+tab", "tab")
        await settle(app, pilot)
        assert "activations shrink" in text(app)
        await pilot.press("1")
        await settle(app, pilot)
        assert "─ Accuracy" in text(app)


async def test_one_panel_can_fill_a_large_terminal(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("2")
        await settle(app, pilot)
        assert "─ Loss" not in text(app)
        assert "─ Layers" in text(app)
        await pilot.press("2")
        await settle(app, pilot)
        assert "─ Loss" in text(app)


async def test_layers_scroll_where_there_are_many(record: Record, client: FakeClient) -> None:
    async with viewing(record(depth=40).folder, client, size=(120, 30)) as (app, pilot):
        assert "layers 1–" in text(app)
        assert " 2 relu" in text(app)
        await pilot.press("down", "down")
        await pilot.pause()
        assert " 2 relu" not in text(app)
        assert "layers 3–" in text(app)
        await pilot.press(*["pagedown"] * 8)
        await pilot.pause()
        assert "of 41" in text(app)
        assert "output" in text(app)
        await pilot.press("pageup", "up")
        await pilot.pause()
        assert "output" not in text(app)


async def test_a_tiny_terminal_says_so_until_it_grows(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client, size=(20, 5)) as (app, pilot):
        assert "needs 40×10, has" in " ".join(text(app).split())
        assert "20×5" in text(app)
        assert "relu" not in text(app)
        await pilot.resize_terminal(120, 36)
        await settle(app, pilot)
        assert "too small" not in text(app)
        assert "10 relu" in text(app)


async def test_any_size_at_any_moment(record: Record, client: FakeClient) -> None:
    recording = record()
    async with viewing(recording.folder, client) as (app, pilot):
        for size in ((40, 10), (1, 1), (200, 60), (60, 12), (110, 28), (109, 27), (300, 11)):
            await pilot.resize_terminal(*size)
            recording.steps(1)
            await settle(app, pilot)
            shown = " ".join(text(app).split())
            assert ("▶ running" in shown) == (size != (1, 1))


async def test_a_run_that_starts_shows_its_phase(record: Record, client: FakeClient) -> None:
    recording = record(steps=0)
    describe(recording.writer, state="starting", phase="loading data", socket="")
    async with viewing(recording.folder, client) as (app, pilot):
        assert "◌ starting" in text(app)
        assert "loading data" in text(app)
        await pilot.press("space")
        await sent(app)
        assert client.sent == []
        recording.steps(2)
        await settle(app, pilot)
        assert "▶ running  step 2" in text(app)
        assert "─ Layers" in text(app)


async def test_before_there_is_a_database(tmp_path: Any, client: FakeClient) -> None:
    async with viewing(RunFolder(tmp_path), client) as (app, _):
        assert "starting" in text(app)


async def test_a_worker_that_never_began_shows_its_log(
    tmp_path: Any, client: FakeClient, clock: Clock
) -> None:
    folder = RunFolder(tmp_path)
    folder.log.write_text("ImportError: no module named numpy\n")
    async with viewing(folder, client) as (app, pilot):
        app.store = RunStore(folder, lambda: 1, clock)
        await settle(app, pilot)
        assert "✕ failed" in text(app)
        assert "exit code 1" in text(app)
        assert "ImportError: no module named numpy" in text(app)


async def test_a_killed_run_says_so_and_keeps_its_panels(
    record: Record, client: FakeClient, clock: Clock
) -> None:
    recording = record(steps=5)
    async with viewing(recording.folder, client) as (app, pilot):
        app.store.close()
        app.store = RunStore(recording.folder, clock=clock)
        await settle(app, pilot)
        recording.drop()
        for _ in range(2):
            clock.now += 1.1
            await settle(app, pilot)
        shown = text(app)
        assert "✕ killed" in shown
        assert "last recorded step 5" in shown
        assert "10 relu" in shown


def diverge(recording: Recording) -> None:
    """End a run as the trainer does at a loss that is not finite."""
    message = "the loss became nan at step 1; first not finite: weight of layer 4 (4 relu)"
    detail = {"layer": 4, "name": "4 relu", "tensor": "weight", "message": message}
    event = Event(1, 0.1, "diverged", detail)
    recording.frame(1, np.array([np.nan]), np.zeros(1), events=[event], state="diverged")
    recording.end("diverged", message)


@pytest.mark.parametrize("size", [(160, 48), (80, 24), (40, 12)])
async def test_a_diverged_run_says_where(
    record: Record, client: FakeClient, size: tuple[int, int]
) -> None:
    recording = record(steps=1)
    diverge(recording)
    async with viewing(recording.folder, client, size=size) as (app, _):
        shown = " ".join(text(app).split())
        assert "✕ diverged" in shown
        assert "first not finite: weight of layer 4" in shown


async def test_claims_are_shown_and_a_judge_that_fails_is_survived(
    record: Record, client: FakeClient
) -> None:
    recording = record()
    judged = threading.Event()

    def judge(folder: RunFolder) -> Claims:
        judged.set()
        raise RunError("no claims here")

    async with viewing(recording.folder, client, judge=judge) as (app, pilot):
        assert await asyncio.to_thread(judged.wait, 5)
        thread = app.judge._thread
        assert thread is not None
        await asyncio.to_thread(thread.join, 5)
        await settle(app, pilot)
        assert "no claims here" in text(app)


async def test_other_themes_work(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        for theme in ("textual-light", "nord", *(t for t in app.available_themes if "ansi" in t)):
            before = app.role_styles
            app.theme = theme
            await settle(app, pilot)
            assert app.role_styles != before
            assert "10 relu" in text(app)


def test_a_view_that_breaks_does_not_end_well(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(app: ViewerApp) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ViewerApp, "tick", broken)
    run = ViewerApp.run
    monkeypatch.setattr(ViewerApp, "run", lambda app, **_: run(app, headless=True))
    with pytest.raises(ViewError, match="a live run continues: tuilab attach"):
        view([Worker(record().folder)])
