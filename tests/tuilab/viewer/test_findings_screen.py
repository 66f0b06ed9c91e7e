"""The screen of findings: choosing, going there, fixing; and keys behind a screen."""

from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from engine.commands import Command
from engine.statistics.frames import Event
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.test_findings import DEAD, OVER, SHRINKING
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.charts.text import plain, width
from tuilab.diagnosis import Finding
from tuilab.diagnosis.fixes import Fix
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels import status
from tuilab.viewer.panels.findings import details, evidence, fixes_of, list_lines, meaning
from tuilab.viewer.runs import Launchers
from tuilab.viewer.screens.findings_screen import FindingsScreen
from tuilab.viewer.screens.layer_screen import LayerScreen

SLOW = Finding(
    "low_learning_rate", "warning", (), 3, 5e-5, 1e-4, "an update changes the weights by 5e-05",
    "raise optimizer.learning_rate", "diagnosis.low_learning_rate.update_ratio",
)  # fmt: skip
SCENARIO = """
[data]
source = "gaussian"
[network]
hidden = [8, 8]
initializer = "xavier"
[optimizer]
name = "sgd"
learning_rate = 0.01
[train]
epochs = 1
"""


@pytest.fixture
def diagnosed(record: Record) -> Recording:
    """Record six snapshots, with findings at step 2, one of which is over at step 4."""
    recording = record(steps=1, units=60)
    recording.folder.scenario.write_text(SCENARIO)
    events: dict[int, list[Event]] = {
        2: [finding.event(2, 0.1) for finding in (SHRINKING, OVER, DEAD)],
        4: [Event(4, 0.2, "cleared", {"rule": "dead_units", "first_step": 1}), SLOW.event(4, 0.2)],
    }
    for step in range(1, 6):
        recording.steps(1, events=events.get(step, []))
    return recording


async def opened(app: ViewerApp, pilot: Pilot[Worker]) -> FindingsScreen:
    await pilot.press("a")
    await pilot.pause()
    assert isinstance(app.screen, FindingsScreen)
    return app.screen


def test_the_list_has_what_stands_before_what_is_over() -> None:
    lines = list_lines([SHRINKING, DEAD], {"shrinking_activations"}, 0, 60)
    assert [plain(line) for line in lines] == [
        "▸ ▲ shrinking activations  layers 1–10                step 0",
        "  ✕ dead units  layers 3, 4                             over",
    ]
    assert [line[1][1] for line in lines] == ["warning", "faint"]


def test_an_explanation_has_evidence_what_helps_and_why(diagnosed: Recording) -> None:
    fixes = fixes_of(SLOW, follow_info(diagnosed), live=True)
    lines = [plain(line) for line in details(SLOW, fixes, over=False, cells=90)]
    assert lines[:3] == [
        "▲ warning, from step 3",
        "an update changes the weights by 5e-05",
        "measured 5e-05   threshold 0.0001   diagnosis.low_learning_rate.update_ratio",
    ]
    assert "→ raise optimizer.learning_rate" in lines
    assert "1 learning rate 0.01 → 0.1  now, from the next step on" in lines
    assert "Lecture 6: about 1e-3 is healthy." in " ".join(lines)
    over = details(DEAD, [], over=True, cells=90)
    assert plain(over[0]) == "✕ error in layers 3, 4, from step 1; it is over"


def follow_info(recording: Recording) -> Any:
    from tuilab.record import RunReader

    with RunReader(recording.folder.database) as reader:
        return reader.info()


@pytest.mark.parametrize("cells", [24, 38, 76])
def test_all_of_it_fits(cells: int) -> None:
    fix = Fix("learning rate 0.01 → 0.001", settings=("optimizer.learning_rate=0.001",))
    for finding in (SHRINKING, DEAD, OVER, SLOW):
        for line in details(finding, [fix] * 3, over=True, cells=cells):
            assert width(line) <= cells
    assert {width(line) for line in list_lines([SLOW, DEAD], (), 1, cells)} == {cells}


def test_a_rule_of_another_version_is_shown_without_its_reason() -> None:
    assert meaning("flying_saucers") == []


def test_thresholds_have_their_values_where_a_rule_is_explained() -> None:
    said = " ".join(meaning("late_start"))
    assert "within 0.01 (flat) of its first value for a share 0.1 (of_run)" in said
    assert "`" not in said


def test_the_evidence_is_drawn_for_all_layers_and_its_own_stand_out(
    diagnosed: Recording, follow: Follow
) -> None:
    store = follow(diagnosed.folder)
    store.poll()
    assert store.snapshot is not None
    table = Table.of(store.snapshot, store.info)
    lines = evidence(DEAD, table, 90)
    assert plain(lines[1]) == "|activation| of each layer at step 5"
    assert len(lines) == 3 + 11
    assert [line[0][1] for line in lines[3:8]] == ["muted", "muted", "bold", "bold", "muted"]
    std = store.snapshot.field("activation", "std")
    assert plain(lines[5]).endswith(f"  {std[2]:.1e}")
    assert "ΔW" in plain(evidence(SLOW, table, 90)[1])
    assert evidence(OVER, table, 90) == []
    assert evidence(DEAD, table, 30) == []
    assert all(width(line) <= 40 for line in evidence(DEAD, table, 40))


async def test_the_worst_that_stands_is_chosen_first(
    diagnosed: Recording, client: FakeClient
) -> None:
    async with viewing(diagnosed.folder, client, size=(120, 36)) as (app, pilot):
        await opened(app, pilot)
        assert "Findings  1 of 4" in text(app)
        assert "▸ ▲ shrinking activations" in text(app)
        await pilot.press("down", "down", "down", "down")
        await pilot.pause()
        assert "Findings  4 of 4" in text(app)
        assert "▸ ✕ dead units  layers 3, 4" in text(app)
        assert "; it is over" in text(app)
        await pilot.press("up", "tab", "shift+tab", "k", "escape")
        await pilot.pause()
        assert len(app.screen_stack) == 1


async def test_enter_goes_to_its_layer_and_moment(diagnosed: Recording, client: FakeClient) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        await opened(app, pilot)
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, LayerScreen)
        assert (app.screen.view_state.layer, app.screen.view_state.tensor) == (3, "activation")
        assert app.store.at == 1  # the step from which it held
        await pilot.press("escape")
        await opened(app, pilot)
        assert "Findings  1 of 4" in text(app)  # of the whole run, not as of then


async def test_a_finding_without_layers_shows_its_moment(
    diagnosed: Recording, client: FakeClient
) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        await opened(app, pilot)
        await pilot.press("down", "enter")
        await settle(app, pilot)
        assert len(app.screen_stack) == 1
        assert app.store.at == 3
        assert "as of step 3" in text(app)


async def test_its_evidence_follows_the_time_machine(
    diagnosed: Recording, client: FakeClient
) -> None:
    async with viewing(diagnosed.folder, client, size=(120, 50)) as (app, pilot):
        await opened(app, pilot)
        assert "of each layer at step 5" in text(app)
        await pilot.press("left", "left")
        await pilot.pause()
        assert "of each layer at step 3" in text(app)


async def test_a_number_mends_it_live(diagnosed: Recording, client: FakeClient) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        await opened(app, pilot)
        await pilot.press("down", "1")
        await sent(app)
        assert client.sent == [Command("set", "learning_rate", 0.1)]
        assert len(app.screen_stack) == 1


async def test_a_number_starts_a_run_that_is_mended(
    diagnosed: Recording, client: FakeClient, record: Record
) -> None:
    other = record(steps=3)
    asked: list[tuple[RunFolder, dict[str, Any]]] = []

    def restart(folder: RunFolder, **more: Any) -> Worker:
        asked.append((folder, more))
        return Worker(other.folder)

    async with viewing(diagnosed.folder, client, launchers=Launchers(restart=restart)) as (
        app,
        pilot,
    ):
        await opened(app, pilot)
        await pilot.press("1")
        await sent(app)
        await settle(app, pilot)
        assert asked == [(diagnosed.folder, {"sets": ('network.initializer="he"',)})]
        assert client.sent == [Command("stop")]
        assert app.store.folder == other.folder


async def test_what_the_scenario_does_not_take_leaves_the_run_alone(
    diagnosed: Recording, client: FakeClient
) -> None:
    own = '[[layer]]\nkind = "linear"\nunits = 4\n'
    scenario = SCENARIO.replace('[network]\nhidden = [8, 8]\ninitializer = "xavier"\n', "")
    diagnosed.folder.scenario.write_text(scenario + own)
    async with viewing(diagnosed.folder, client) as (app, pilot):
        app.navigation.apply(Fix("batch normalisation", settings=("network.nonsense=true",)))
        await sent(app)
        await pilot.pause()
        assert client.sent == []
        assert [n.title for n in app._notifications] == ["batch normalisation: not possible"]


async def test_after_a_divergence_it_goes_back(diagnosed: Recording, client: FakeClient) -> None:
    broken = Finding(
        "not_finite",
        "error",
        (4,),
        6,
        float("nan"),
        float("inf"),
        "the loss became nan",
        "lower it",
    )
    event = Event(6, 0.3, "diverged", {"layer": 4, "message": "the loss became nan"})
    diagnosed.frame(6, np.array([np.nan]), np.zeros(1), events=[event, broken.event(6, 0.3)],
                    state="diverged")  # fmt: skip
    diagnosed.end("diverged", "the loss became nan")
    asked: list[RunFolder] = []

    def go_on(folder: RunFolder) -> Worker:
        asked.append(folder)
        return Worker(folder)

    async with viewing(diagnosed.folder, client, launchers=Launchers(go_on=go_on)) as (app, pilot):
        await opened(app, pilot)
        assert "continue from before it, at a lower learning rate" in text(app)
        await pilot.press("1")
        await sent(app)
        assert asked == [diagnosed.folder]


async def test_a_number_without_a_change_says_so(diagnosed: Recording, client: FakeClient) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        await opened(app, pilot)
        await pilot.press("9")
        assert [n.message for n in app._notifications] == ["there is no fix of that number"]
        assert isinstance(app.screen, FindingsScreen)


async def test_without_findings_there_is_no_screen(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("a")
        assert len(app.screen_stack) == 1
        assert [n.message for n in app._notifications] == ["no findings yet"]


async def test_what_is_found_meanwhile_comes_into_the_list(
    diagnosed: Recording, client: FakeClient
) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        await opened(app, pilot)
        worse = Finding("exploding_loss", "error", (), 6, 9.0, 3.0, "the loss is 9", "lower it")
        diagnosed.steps(1, events=[worse.event(6, 0.3)])
        await settle(app, pilot)
        assert "✕ exploding loss" in text(app)
        assert "Findings  2 of 5" in text(app)  # what was chosen is chosen still


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 36), (200, 60)])
async def test_it_can_be_read_at_any_size(
    diagnosed: Recording, client: FakeClient, size: tuple[int, int]
) -> None:
    async with viewing(diagnosed.folder, client, size=size) as (app, pilot):
        await opened(app, pilot)
        assert "▸ ▲ shrinking" in text(app)
        assert "warning in layers" in text(app)
        for _ in range(20):  # pages of four lines, where there is least room
            await pilot.press("pagedown")
        await pilot.pause()
        assert "output" in text(app)  # the last row of the evidence
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert "Findings  1 of 4" in text(app)


@pytest.mark.parametrize("screen", ["enter", "a"])
@pytest.mark.parametrize(("key", "shown"), [("4", "Gain  at step"), ("0", "─ Layers")])
async def test_keys_of_the_panels_leave_the_screen_above_them(
    diagnosed: Recording, client: FakeClient, screen: str, key: str, shown: str
) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        if (screen, key) == ("a", "4"):
            return  # a number fixes a finding there
        await pilot.press(screen)
        await pilot.pause()
        await pilot.press(key)
        await settle(app, pilot)
        assert len(app.screen_stack) == 1
        assert shown in text(app)


async def test_what_is_covered_does_not_scroll(record: Record, client: FakeClient) -> None:
    async with viewing(record(depth=40).folder, client, size=(120, 30)) as (app, pilot):
        await pilot.press("enter", "pagedown", "pagedown", "escape")
        await settle(app, pilot)
        assert "layers 1–" in text(app)


@pytest.mark.parametrize("cells", [40, 60, 80, 120])
def test_the_notice_of_a_divergence_says_what_to_do(
    record: Record, follow: Follow, cells: int
) -> None:
    recording = record(steps=1)
    message = (
        "the loss became nan at step 61; first not finite: weight_grad of layer 10 (10 relu), "
        "after which nothing could be trained any more"
    )
    event = Event(1, 0.1, "diverged", {"layer": 10, "tensor": "weight_grad", "message": message})
    recording.frame(1, np.array([np.nan]), np.zeros(1), events=[event], state="diverged")
    recording.end("diverged", message)
    store = follow(recording.folder)
    store.poll()
    lines = [plain(line) for line in status.notice(store, cells)]
    assert len(lines) <= 3 + (cells < 60)
    assert {len(line) for line in lines} == {cells}
    said = " ".join(" ".join(lines).split())
    assert "the loss became nan" in said
    does = "from before that, at a lower learning rate" if cells >= 60 else "at a lower rate"
    assert said.endswith(f"g resumes {does}")


def test_going_to_a_step_takes_the_first_snapshot_from_there_on(
    diagnosed: Recording, follow: Follow
) -> None:
    store = follow(diagnosed.folder)
    assert not store.look_at(3)  # nothing is known yet
    store.poll()
    went = [(store.look_at(step), store.at) for step in (3, 3, 99, -5)]
    assert went == [(True, 3), (False, 3), (True, None), (True, 0)]


async def test_what_keys_do_is_told_where_the_status_line_is_covered(
    diagnosed: Recording, client: FakeClient
) -> None:
    async with viewing(diagnosed.folder, client) as (app, pilot):
        rate = {"key": "learning_rate", "value": 0.02, "previous": 0.01}
        diagnosed.steps(1, events=[Event(1, 0.1, "pause", {}), Event(1, 0.1, "set", rate)])
        await settle(app, pilot)
        assert list(app._notifications) == []  # the status line shows it
        await opened(app, pilot)
        diagnosed.steps(1, events=[Event(1, 0.1, "resume", {}), Event(1, 0.1, "set", rate)])
        await settle(app, pilot)
        assert [n.message for n in app._notifications] == ["running", "lr ×2"]
