"""The app through Pilot: every action and every modal; the worker's end is a fake."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from textual.widgets import Static

from engine.commands import Command
from engine.statistics.frames import Event
from tests.tuilab.support import describe
from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.saved import normalised, save
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.charts import formats
from tuilab.errors import RunError
from tuilab.process.launch import Worker
from tuilab.record.control_socket import Reply
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp, view
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.panels.layer.views import VIEWS
from tuilab.viewer.runs import Launchers
from tuilab.viewer.screens.dialogs import (
    HelpScreen,
    LeaveScreen,
    ValueScreen,
    parse_value,
)
from tuilab.viewer.screens.layer_screen import LayerScreen


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("space", Command("pause")),
        ("n", Command("step")),
        ("right_square_bracket", Command("scale", "learning_rate", 1.25)),
        ("left_square_bracket", Command("scale", "learning_rate", 0.8)),
        ("right_curly_bracket", Command("scale", "learning_rate", 10.0)),
        ("left_curly_bracket", Command("scale", "learning_rate", 0.1)),
    ],
)
async def test_keys_send_commands(
    record: Record, client: FakeClient, key: str, command: Command
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press(key)
        await sent(app)
        assert client.sent == [command]


async def test_space_resumes_a_paused_run(record: Record, client: FakeClient) -> None:
    recording = record()
    pause = Event(1, 0.1, "pause")
    recording.frame(1, np.empty(0), np.empty(0), events=[pause], state="paused")
    async with viewing(recording.folder, client) as (app, pilot):
        assert "❚❚ paused" in text(app)
        assert "space resume" in text(app)
        await pilot.press("space")
        await sent(app)
        assert client.sent == [Command("resume")]


async def test_space_twice_does_not_pause_twice(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("space", "space")
        await sent(app)
        assert client.sent == [Command("pause"), Command("resume")]


async def test_a_refused_command_is_told(record: Record, client: FakeClient) -> None:
    client.reply = Reply(False, "learning_rate must be below 1e6")
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("right_curly_bracket")
        await sent(app)
        await pilot.pause()
        assert [n.message for n in app._notifications] == ["learning_rate must be below 1e6"]


async def test_a_learning_rate_can_be_typed(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("l")
        assert isinstance(app.screen, ValueScreen)
        await pilot.press(*"0.0x", "enter")
        assert isinstance(app.screen, ValueScreen)
        wrong = app.screen.query_one("#wrong", Static)
        assert "'0.0x' is not a number" in str(wrong.render())
        await pilot.press("backspace", "5", "enter")
        await sent(app)
        assert client.sent == [Command("set", "learning_rate", 0.05)]
        assert not isinstance(app.screen, ValueScreen)


@pytest.mark.parametrize("typed", ["-1", "nan", "inf", "1e999", "", "1.2.3"])
def test_a_bad_learning_rate_is_refused_in_words(typed: str) -> None:
    assert isinstance(parse_value("learning_rate", typed), str)


@pytest.mark.parametrize(
    ("keys", "key"),
    [(["m"], "momentum"), (["w"], "weight_decay"), (["p", "down", "enter"], "momentum")],
)
async def test_any_hyperparameter_can_be_typed(
    record: Record, client: FakeClient, keys: list[str], key: str
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert isinstance(app.screen, ValueScreen)
        assert app.screen.key == key
        await pilot.press(*"0.5", "enter")
        await sent(app)
        assert client.sent == [Command("set", key, 0.5)]


async def test_a_hyperparameter_that_the_run_has_not_is_told(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("d")
        assert [n.message for n in app._notifications] == ["this run has no dropout"]
        await pilot.press("p", "escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1


def test_learning_rates_may_have_a_comma() -> None:
    assert parse_value("learning_rate", " 0,05 ") == 0.05


async def test_a_bad_learning_rate_is_not_sent(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("l", "minus", "1", "enter")
        assert isinstance(app.screen, ValueScreen)
        wrong = app.screen.query_one("#wrong", Static)
        assert "must not be negative" in str(wrong.render())
        await pilot.press("escape")
        await sent(app)
        assert client.sent == []


def restarter(into: RunFolder) -> tuple[list[tuple[RunFolder, bool]], Callable[..., Worker]]:
    calls: list[tuple[RunFolder, bool]] = []

    def restart(folder: RunFolder, *, new_seed: bool) -> Worker:
        calls.append((folder, new_seed))
        return Worker(into)

    return calls, restart


@pytest.mark.parametrize(("key", "new_seed"), [("r", False), ("R", True)])
async def test_restarting_stops_the_run_and_follows_the_new_one(
    record: Record, client: FakeClient, key: str, new_seed: bool
) -> None:
    old, new = record(steps=7), record(steps=3)
    calls, restart = restarter(new.folder)
    async with viewing(old.folder, client, launchers=Launchers(restart=restart)) as (app, pilot):
        await pilot.press(key)
        await sent(app)
        await settle(app, pilot)
        assert client.sent == [Command("stop")]
        assert calls == [(old.folder, new_seed)]
        assert app.store.folder == new.folder
        assert "step 3" in text(app)


async def test_an_ended_run_can_be_restarted_but_not_paused(
    record: Record, client: FakeClient
) -> None:
    old, new = record(steps=2), record(steps=3)
    old.end("finished")
    calls, restart = restarter(new.folder)
    async with viewing(old.folder, client, launchers=Launchers(restart=restart)) as (app, pilot):
        assert "✓ finished" in text(app)
        await pilot.press("space", "n", "right_square_bracket", "l")
        await sent(app)
        assert {n.message for n in app._notifications} == {"the run has ended"}
        await pilot.press("r")
        await sent(app)
        await settle(app, pilot)
        assert client.sent == []
        assert calls == [(old.folder, False)]
        assert app.store.folder == new.folder


async def test_a_restart_that_fails_is_told(record: Record, client: FakeClient) -> None:
    def restart(folder: RunFolder, *, new_seed: bool) -> Worker:
        raise RunError("cannot write the run folder")

    async with viewing(record().folder, client, launchers=Launchers(restart=restart)) as (
        app,
        pilot,
    ):
        await pilot.press("r")
        await sent(app)
        await pilot.pause()
        assert "cannot write the run folder" in [n.message for n in app._notifications]


async def test_the_curves_of_other_runs_stand_beside(record: Record, client: FakeClient) -> None:
    shown, first, second = record(steps=4), record(steps=9), record(steps=0)
    async with viewing(shown.folder, client, first.folder, second.folder) as (app, pilot):
        value = f"{app.dashboard.others[0].series.value('loss', None):.2f}"
        assert f"─ run1 {value}" in text(app)
        assert [other.name for other in app.dashboard.others] == [
            "run1"
        ]  # the other has no step yet
        await pilot.press("c")
        await settle(app, pilot)
        assert "─ run1" not in text(app)
        await pilot.press("c", "v")
        await settle(app, pilot)
        assert "─ run0" in text(app)
        assert "─ run1" not in text(app)


async def test_without_other_runs_there_is_nothing_beside(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("c")
        assert [n.message for n in app._notifications] == [
            "there is no other run; tuilab compare shows several"
        ]


async def test_the_arrows_go_through_time(record: Record, client: FakeClient) -> None:
    recording = record(steps=1)
    for _ in range(14):
        recording.steps(1)
    async with viewing(recording.folder, client) as (app, pilot):
        seen = []
        for key in ("left", "right", "left", "shift+left", "shift+right", "home", "end"):
            await pilot.press(key)
            await settle(app, pilot)
            seen.append(app.store.at)
            assert ("◀ as of step" in text(app)) is (app.store.at is not None)
        assert seen == [13, None, 13, 3, 13, 0, None]
        await pilot.press("home")
        await settle(app, pilot)
        loss = f"{app.store.series.values('loss')[0]:.2f}"
        assert f"train {loss}" in text(app)  # the curves are read at the cursor
        assert "now step 15" in text(app)


async def test_back_in_time_the_other_runs_are_read_as_of_then(
    record: Record, client: FakeClient
) -> None:
    shown, other = record(steps=1), record(steps=1)
    shown.steps(1)
    other.frame(1, np.array([1.0]), np.array([0.75]))
    async with viewing(shown.folder, client, other.folder) as (app, pilot):
        await pilot.press("home")
        await settle(app, pilot)
        accuracy = app.dashboard.others[0].series.values("accuracy")
        assert accuracy[0] != accuracy[-1]
        assert f"─ run1 {formats.significant(float(accuracy[0]))}" in text(app)


@pytest.mark.parametrize("opening", ["p", "l", "question_mark", "q"])
async def test_no_key_reaches_behind_a_dialog(
    record: Record, client: FakeClient, opening: str
) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        before = app.dashboard.tab, app.dashboard.alone
        await pilot.press(opening, "tab", "2", "left")
        assert (app.dashboard.tab, app.dashboard.alone) == before
        assert len(app.screen_stack) == 2


async def test_enter_opens_a_layer_and_keys_go_through_it(
    record: Record, client: FakeClient
) -> None:
    recording = record(steps=1)
    for _ in range(4):
        recording.steps(1)
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        await pilot.press("enter")
        await settle(app, pilot)
        assert "Layer 1 of 11" in text(app)
        assert "relu · linear, 24 units  at step 4" in text(app)
        assert "▸ activation" in text(app)
        assert "activation over time" in text(app)
        await pilot.press("down", "down", "up", "tab", "left")
        await settle(app, pilot)
        assert "Layer 2 of 11" in text(app)
        assert "at step 3  ◀ an earlier step" in text(app)
        assert "▸ dL/dA" in text(app)
        before = text(app)
        await pilot.press("x")
        await settle(app, pilot)
        shared = text(app)
        assert shared != before
        await pilot.press("x", "y")
        await settle(app, pilot)
        assert text(app) not in (before, shared)
        recording.steps(1)
        await pilot.press("end", "shift+tab", "escape", "enter")  # it is remembered
        await settle(app, pilot)
        assert "Layer 2 of 11" in text(app)
        assert "at step 5" in text(app)
        await pilot.press(*["down"] * 20)
        await settle(app, pilot)
        assert "Layer 11 of 11" in text(app)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


async def test_letters_change_the_view_of_a_layer(record: Record, client: FakeClient) -> None:
    recording = record(steps=3)
    save(recording, normalised(), 2)
    recording.steps(1)
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        await pilot.press("enter", "u")
        await settle(app, pilot)
        assert "24 units   none dead" in text(app)
        assert "share of examples active" in text(app)
        await pilot.press("tab")
        await settle(app, pilot)
        assert "mean activation" in text(app)
        await pilot.press("i")
        await settle(app, pilot)
        assert "weights as of step 2   24 units over 4×6 pixels" in text(app)
        await pilot.press("g")
        await settle(app, pilot)
        assert "γ  scale   mean 1" in text(app)
        await pilot.press("down")
        await settle(app, pilot)
        assert "Layer 2 of 11" in text(app)
        assert "γ  scale" in text(app)
        assert "i weights" not in text(app)  # a layer that sees no pixels
        await pilot.press("x", "x", "h")
        await settle(app, pilot)
        assert "axis fixed at step 3" in text(app)
        await pilot.press("x")
        await settle(app, pilot)
        assert "axis log |x|" in text(app)


async def test_back_in_time_weights_of_later_are_told_apart(
    record: Record, client: FakeClient
) -> None:
    recording = record(steps=3)
    save(recording, normalised(), 3)
    recording.steps(1)
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        await pilot.press("enter", "i", "home")
        await settle(app, pilot)
        assert "at step 2  ◀ an earlier step" in text(app)
        assert "weights as of step 3" in text(app)
        assert isinstance(app.screen, LayerScreen)
        panel = app.screen.query_one("#layer", LinesPanel)
        assert ("as of step 3", "warning") in panel.lines[0]


async def test_a_checkpoint_that_cannot_be_read_is_told_in_the_panel(
    record: Record, client: FakeClient
) -> None:
    recording = record(steps=3)
    save(recording, normalised(), 2)
    (recording.folder.checkpoints / "2.safetensors").write_bytes(b"no checkpoint")
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        await pilot.press("enter", "i")
        await settle(app, pilot)
        words = " ".join(text(app).replace("│", " ").split())
        assert "2.safetensors: cannot be read as a checkpoint" in words
        await pilot.press("h")
        await settle(app, pilot)
        assert "activation over time" in text(app)


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (60, 20), (40, 12)])
async def test_a_layer_fits_on_every_screen(
    record: Record, client: FakeClient, size: tuple[int, int]
) -> None:
    async with viewing(record(steps=3).folder, client, size=size) as (app, pilot):
        await pilot.press("enter")
        await settle(app, pilot)
        assert "Layer 1 of 11" in text(app)
        assert "esc back" in text(app)


@pytest.mark.parametrize("state", ["diverged", "stopped"])
async def test_a_run_that_ended_can_go_on(record: Record, client: FakeClient, state: str) -> None:
    old, new = record(steps=2), record(steps=3)
    calls: list[RunFolder] = []

    def go_on(folder: RunFolder) -> Worker:
        calls.append(folder)
        return Worker(new.folder)

    async with viewing(old.folder, client, launchers=Launchers(go_on=go_on)) as (app, pilot):
        await pilot.press("g")
        await sent(app)
        assert {n.message for n in app._notifications} == {"the run has not ended"}
        old.end(state)
        await settle(app, pilot)
        assert "g resume" in text(app)
        await pilot.press("g")
        await sent(app)
        await settle(app, pilot)
        assert calls == [old.folder]
        assert app.store.folder == new.folder


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_leaving_a_live_run_asks(record: Record, client: FakeClient, key: str) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press(key)
        assert type(app.screen) is LeaveScreen
        await pilot.press("escape")
        assert len(app.screen_stack) == 1
        await pilot.press(key, "l")
        await pilot.pause()
        assert app.return_value is app.worker
    assert client.sent == []


async def test_leaving_can_stop_the_run(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("q", "s")
        await sent(app)
        await pilot.pause()
        assert app.return_value is app.worker
    assert client.sent == [Command("stop")]


async def test_leaving_an_ended_run_asks_nothing(record: Record, client: FakeClient) -> None:
    recording = record()
    recording.end("finished")
    async with viewing(recording.folder, client) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value is app.worker


async def test_the_next_run_of_a_comparison_is_a_key_away(
    record: Record, client: FakeClient
) -> None:
    first, second = record(steps=7), record(steps=3)
    describe(first.writer, variant="slow")
    describe(second.writer, variant="fast")
    async with viewing(first.folder, client, second.folder) as (app, pilot):
        assert "xavier_relu · slow" in text(app)
        assert "v next variant" in text(app)
        await pilot.press("v")
        await settle(app, pilot)
        assert "xavier_relu · fast" in text(app)
        assert "step 3" in text(app)
        await pilot.press("n")
        await sent(app)
        assert client.sent == [Command("step")]
        await pilot.press("v")
        await settle(app, pilot)
        assert "xavier_relu · slow" in text(app)
        assert "step 7" in text(app)


async def test_a_run_alone_has_no_next_one(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        assert "next variant" not in text(app)
        await pilot.press("v")
        (notice,) = app._notifications
        assert notice.message.startswith("there is no other run")


async def test_a_restart_takes_the_place_of_the_run_that_was_shown(
    record: Record, client: FakeClient
) -> None:
    first, second, new = record(steps=7), record(steps=3), record(steps=5)
    calls, restart = restarter(new.folder)
    async with viewing(
        first.folder, client, second.folder, launchers=Launchers(restart=restart)
    ) as (app, pilot):
        await pilot.press("r", "v")
        await sent(app)
        await settle(app, pilot)
        assert calls == [(first.folder, False)]
        assert "step 3" in text(app)  # what is looked at stays
        assert [run.folder for run in app.session.runs] == [new.folder, second.folder]
        await pilot.press("v")
        await settle(app, pilot)
        assert "step 5" in text(app)


async def test_leaving_a_comparison_asks_of_all_that_go_on(
    record: Record, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (record() for _ in range(3))
    first.end("finished")
    ended: list[RunFolder] = []
    monkeypatch.setattr("tuilab.viewer.session.end", lambda worker: ended.append(worker.folder))
    folders = (second.folder, third.folder)
    async with viewing(first.folder, client, *folders) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert type(app.screen) is LeaveScreen
        shown = text(app)
        assert "the runs are not finished" in shown
        assert [f"attach {folder.path.parent}" in "".join(shown.split()) for folder in folders]
        assert f"{first.folder.path} " not in shown
        await pilot.press("escape", "v", "q", "s")
        await sent(app)
        await pilot.pause()
        assert app.return_value is app.worker
    assert client.sent == [Command("stop")]  # of the one that is shown
    assert ended == [first.folder, third.folder]


async def test_leaving_an_ended_comparison_asks_nothing(record: Record, client: FakeClient) -> None:
    recordings = [record(), record()]
    for recording in recordings:
        recording.end("finished")
        recording.close()
    async with viewing(recordings[0].folder, client, recordings[1].folder) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value is app.worker


async def test_help_lists_every_action_and_closes(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client, size=(160, 70)) as (app, pilot):
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        await pilot.pause()
        shown = text(app)
        for part in ("take one step, then pause", "[           learning rate ÷ 1.25",
                     "]           learning rate × 1.25", "fwd →", "log₁₀ΔW/W"):  # fmt: skip
            assert part in shown
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)


async def test_help_lists_the_views_of_a_layer_over_the_layer_too(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client, size=(160, 140)) as (app, pilot):
        await pilot.press("enter", "question_mark")
        await pilot.pause()
        shown = text(app)
        for view in VIEWS:
            assert f"{view.key}           {view.help}" in shown
        await pilot.press("escape")
        assert isinstance(app.screen, LayerScreen)


async def test_a_click_in_the_footer_acts(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        at = text(app).splitlines()[-1].index("step")
        await pilot.click("#footer", offset=(at, 0))
        await sent(app)
        assert client.sent == [Command("step")]


async def test_the_command_palette_offers_the_table(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("colon")
        await pilot.pause()
        assert type(app.screen).__name__ == "CommandPalette"
        helps = {c.help for c in app.get_system_commands(app.screen)}
        assert "take one step, then pause" in helps


async def test_what_there_is_to_do_with_several_runs_stands_below(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record().folder, client, record().folder) as (app, pilot):
        await pilot.resize_terminal(200, 48)
        await settle(app, pilot)
        for hint in ("v next variant", "c compare", "C layers beside", "f fork"):
            assert hint in text(app)


def test_runs_that_were_asked_to_stop_are_waited_for(
    record: Record, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record()

    def run(app: ViewerApp, **settings: object) -> None:
        app.store.poll()
        app.session.stop(app.store)
        threading.Timer(0.3, recording.end, ["stopped"]).start()

    monkeypatch.setattr(ViewerApp, "run", run)
    (worker,) = view([Worker(recording.folder)])
    assert not worker.folder.is_alive()
