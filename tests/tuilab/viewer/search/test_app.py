"""The view of a search as an app: keys, panels, and the run that enter opens."""

import subprocess
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tuilab.conftest import Cli
from tests.tuilab.search.support import LR, searching
from tests.tuilab.support import FOREVER, command, environment, wait_for, write_scenario
from tests.tuilab.viewer.search.conftest import ROWS, reading, staged
from tuilab.charts.text import plain
from tuilab.process.launch import Options
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load
from tuilab.search.folder import StudyFolder
from tuilab.search.launch import new_folder
from tuilab.search.results import Row
from tuilab.search.study_reader import StudyReader
from tuilab.viewer.panels.base import LinesPanel
from tuilab.viewer.search.app import SearchApp, SearchViewState
from tuilab.viewer.search.store import Reading


@pytest.fixture
def study(lab: Path) -> StudyReader:
    """A search that has not begun; what is read of it is made up."""
    path = write_scenario(lab / "x.toml", searching())
    return StudyReader(new_folder(load(path), lab / "s", "", Options()))


def app_of(study: StudyReader, found: Reading, look: SearchViewState | None = None) -> SearchApp:
    return SearchApp(study, look or SearchViewState(), lambda reader: found)


async def settled(pilot: Pilot[RunFolder | None], app: SearchApp) -> None:
    for _ in range(200):
        await pilot.pause(0.02)
        if app.reading is not None and app.shown:
            break
    await pilot.pause()


def text(app: SearchApp, panel: str) -> str:
    return "\n".join(plain(line) for line in app.query_one(f"#{panel}", LinesPanel).lines)


@pytest.mark.parametrize("size", [(200, 60), (120, 36), (80, 24), (40, 10)])
async def test_all_panels_have_their_say(study: StudyReader, size: tuple[int, int]) -> None:
    app = app_of(study, reading())
    async with app.run_test(size=size) as pilot:
        await settled(pilot, app)
        assert "small" in text(app, "header")
        assert "0.4400" in text(app, "trials")
        for key in "2345":
            await pilot.press(key)
        await pilot.pause()
        if size[0] >= 110:
            assert "no running trials" in text(app, "running")
            assert "★" in text(app, "scatter") or "◉" in text(app, "scatter")
            assert "val_acc" in text(app, "parallel")
        if size[0] >= 80:
            assert "75%" in text(app, "importance")


async def test_the_cursor_stays_on_its_trial_when_the_order_changes(study: StudyReader) -> None:
    app = app_of(study, reading())
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        await pilot.press("down")
        assert app.chosen == ROWS[0]
        await pilot.press("o")  # by trial: it is the first there
        assert app.view_state.order.column == 1
        assert (app.chosen, app.view_state.cursor) == (ROWS[0], 0)
        await pilot.press("O")
        assert (app.chosen, app.view_state.cursor) == (ROWS[0], 5)
        await pilot.press("home")
        assert app.chosen == ROWS[5]


async def test_stages_and_parameters_change_by_key(study: StudyReader) -> None:
    app = app_of(study, reading(staged(), staged(ROWS[:1], "fine")))
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        assert app.query_one("#trials").border_title == "Trials of fine"
        await pilot.press("s")
        assert app.query_one("#trials").border_title == "Trials of coarse"
        assert LR in str(app.query_one("#scatter").border_title)
        await pilot.press("x")
        assert "network.activation" in str(app.query_one("#scatter").border_title)


async def test_only_what_is_there_is_opened_and_only_what_runs_is_pruned(
    study: StudyReader,
) -> None:
    app = app_of(study, reading())
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        await pilot.press("enter", "p", "S")
        await pilot.pause()
        said = [toast.message for toast in app._notifications]
        assert said == [
            "trial 2 has no run",
            "only a running trial can be pruned",
            "the search is not running",
        ]


async def test_a_thousand_trials_can_be_gone_through(study: StudyReader) -> None:
    rows = [Row(n, "complete", {LR: 1e-6 * 1.006**n, "network.activation": "relu"}, n / 1000)
            for n in range(1000)]  # fmt: skip
    app = app_of(study, reading(staged(rows)))
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        await pilot.press("end")
        assert app.view_state.cursor == 999
        assert " 1000 " in text(app, "trials")
        await pilot.press("o", "o", "O", "home")
        assert app.chosen is not None
        assert app.chosen.number == 999


async def test_a_search_goes_on_while_it_is_watched_and_enter_opens_a_run(
    lab: Path, cli: Cli
) -> None:
    write_scenario(lab / "x.toml", searching(trials=2))
    assert cli("search", "x.toml", "--headless", "--out", "s")[0] == 0
    reader = StudyReader(StudyFolder(lab / "s"))
    app = SearchApp(reader, SearchViewState())
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        assert "2/3" not in text(app, "header")
        assert "2/2" in text(app, "header")
        await pilot.press("enter")
    assert app.return_value is not None
    assert app.return_value.database.is_file()
    reader.close()


async def test_p_ends_a_running_trial_and_the_search_goes_on(lab: Path) -> None:
    table = searching(trials=1, objective="loss.data")
    table["search"].pop("epochs")
    write_scenario(lab / "x.toml", table | {"train": {"steps": FOREVER}})
    process = subprocess.Popen(
        command("search", "x.toml", "--headless", "--json", "--out", "s"),
        cwd=lab, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    wait_for(lambda: RunFolder(lab / "s/trials/search-0000").is_alive())
    reader = StudyReader(StudyFolder(lab / "s"))
    app = SearchApp(reader, SearchViewState())
    async with app.run_test(size=(160, 40)) as pilot:
        await settled(pilot, app)
        await pilot.press("p")
        for _ in range(200):
            await pilot.pause(0.05)
            if process.poll() is not None:
                break
    reader.close()
    out, _ = process.communicate(timeout=30)
    assert '"reason":"pruned by hand"' in out
