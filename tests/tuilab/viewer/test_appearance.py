"""How the apps look: glyphs, themes and colours on the whole screen, and what is remembered."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from engine.statistics.frames import Event
from tests.tuilab.support import describe
from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.terminal.appearance import Appearance

ASCII = Appearance(glyphs="ascii")


def starting(record: Record) -> Recording:
    recording = record(steps=0)
    describe(recording.writer, state="starting", phase="loading data", socket="")
    return recording


def running(record: Record) -> Recording:
    recording = record(steps=1)
    recording.steps(30, events=[recording.scale(1.25)])
    return recording


def paused(record: Record) -> Recording:
    recording = record(steps=20)
    recording.steps(5, state="paused", events=[Event(20, 0.1, "pause", {})])
    return recording


def diverged(record: Record) -> Recording:
    recording = running(record)
    loss = np.array([3.0, np.inf, np.nan])
    recording.frame(recording.made, loss, np.zeros(3), state="diverged")
    recording.end("diverged", "the loss is nan at step 33")
    return recording


def killed(record: Record) -> Recording:
    recording = running(record)
    recording.close()
    return recording


STATES = (starting, running, paused, diverged, killed)
SCREENS = ("", "3", "question_mark", "enter", "colon", "l")
"""Keys that open what there is to see: panels, help, a layer, the palette, a field."""


def segments(app: ViewerApp) -> list[Any]:
    return [s for strip in app.screen._compositor.render_strips() for s in strip]


async def open_screen(key: str, app: ViewerApp, pilot: Pilot[Worker]) -> None:
    """Press a key and see what comes of it, not behind what another key has opened."""
    await pilot.press("escape", *([key] if key else []))
    await pilot.pause()
    if not key:
        await settle(app, pilot)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", [(160, 48), (80, 24)])
async def test_ascii_is_all_that_leaves(
    state: Any, size: tuple[int, int], record: Record, client: FakeClient
) -> None:
    async with viewing(state(record).folder, client, size=size, appearance=ASCII) as (app, pilot):
        app.notify("a × in a message …", title="▲ and a title")
        for key in SCREENS if state is running else SCREENS[:2]:
            await open_screen(key, app, pilot)
            shown = text(app)
            assert shown.isascii(), [c for c in shown if not c.isascii()]
            assert "?" * 3 not in shown  # every character of ours has a twin


async def test_a_key_goes_through_the_glyphs_and_it_is_remembered(
    record: Record, client: FakeClient
) -> None:
    folder = running(record).folder
    async with viewing(folder, client) as (app, pilot):
        assert any(0x2800 < ord(c) < 0x2900 for c in text(app))
        await pilot.press("G")
        await settle(app, pilot)
        assert not any(0x2800 < ord(c) < 0x2900 for c in text(app))
        assert "╭" in text(app)
        await pilot.press("G")
        await settle(app, pilot)
        assert text(app).isascii()
    async with viewing(folder, client) as (app, pilot):
        assert text(app).isascii()
        await pilot.press("G")
        await settle(app, pilot)
        assert "⠒" in text(app) or "⠤" in text(app) or "⡇" in text(app)
    async with viewing(folder, client, appearance=ASCII) as (app, _):
        assert text(app).isascii()  # for this once
    assert json.loads(Path(os.environ["TUILAB_CONFIG"]).read_text()) == {"glyphs": "braille"}


async def test_a_key_goes_through_the_themes_and_it_is_remembered(
    record: Record, client: FakeClient
) -> None:
    folder = running(record).folder
    seen = []
    async with viewing(folder, client) as (app, pilot):
        for _ in range(4):
            seen.append((app.theme, app.role_styles["warning"].color))
            await pilot.press("T")
            await settle(app, pilot)
        assert any(
            s.style and s.style.color == app.role_styles["warning"].color for s in segments(app)
        )
        app.theme = "nord"
        await settle(app, pilot)
    assert [name for name, _ in seen] == ["dark", "light", "colour-blind", "dark"]
    assert len({colour for _, colour in seen}) == 3
    async with viewing(folder, client) as (app, pilot):
        assert app.theme == "nord"
        await pilot.press("T")
        assert app.theme == "dark"
    async with viewing(folder, client, appearance=Appearance(theme="light")) as (app, _):
        assert app.theme == "light"


async def test_damaged_settings_are_told_and_stop_nobody(
    record: Record, client: FakeClient
) -> None:
    path = Path(os.environ["TUILAB_CONFIG"])
    path.parent.mkdir(parents=True)
    path.write_text('{"theme": "gone", "glyphs": ')
    async with viewing(running(record).folder, client) as (app, _):
        assert app.theme == "dark"
        assert "cannot be used" in " ".join(n.message for n in app._notifications)
    path.write_text('{"theme": "gone"}')  # of another version
    async with viewing(running(record).folder, client) as (app, _):
        assert app.theme == "dark"
        assert not list(app._notifications)


async def test_whether_curves_stand_beside_is_remembered(
    record: Record, client: FakeClient
) -> None:
    folder, other = running(record).folder, running(record).folder
    async with viewing(folder, client, other) as (app, pilot):
        assert app.dashboard.others
        await pilot.press("c")
        await settle(app, pilot)
        assert not app.dashboard.others
    async with viewing(folder, client, other) as (app, _):
        assert not app.dashboard.others


@pytest.mark.parametrize("state", STATES)
async def test_no_color_means_none_and_severity_still_shows(
    state: Any, record: Record, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with viewing(state(record).folder, client) as (app, pilot):
        for key in SCREENS if state is running else SCREENS[:2]:
            await open_screen(key, app, pilot)
            for segment in segments(app):
                assert segment.style is None or segment.style.color is None
                assert segment.style is None or segment.style.bgcolor is None
        if state is diverged:
            assert any(s.style.reverse and s.text.strip() for s in segments(app) if s.style)


async def test_without_colours_the_chosen_option_is_reversed(
    record: Record, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with viewing(running(record).folder, client) as (app, pilot):
        app.controls.ask("")
        await settle(app, pilot)
        chosen = [s.text for s in segments(app) if s.style and s.style.reverse]
        assert any("learning rate" in words for words in chosen)


async def test_a_message_takes_the_place_of_the_same_one(
    record: Record, client: FakeClient
) -> None:
    async with viewing(running(record).folder, client) as (app, pilot):
        for words in ("one", "two", "one"):
            app.notify(words, timeout=3)
            await pilot.pause()
        app.notify("one", title="of another kind", timeout=3)
        await pilot.pause()
        assert [each.message for each in app._notifications] == ["two", "one", "one"]


async def test_an_empty_no_color_asks_for_nothing(
    record: Record, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    async with viewing(running(record).folder, client) as (app, _):
        colours = {s.style.color for s in segments(app) if s.style}
        assert app.role_styles["warning"].color in colours


async def test_before_there_is_a_database_in_ascii(tmp_path: Path, client: FakeClient) -> None:
    async with viewing(RunFolder(tmp_path), client, appearance=ASCII) as (app, _):
        assert text(app).isascii()
