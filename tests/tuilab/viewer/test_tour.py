"""The tour through Pilot: the list and each of its keys, and going from scenario to scenario."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.visits import sent, settle, text, viewing
from tuilab.claims.expectations import Verdict
from tuilab.errors import RunError
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.catalog import CatalogEntry
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.tour import Tour
from tuilab.viewer.screens.scenario_picker import PickerApp, PickerScreen

LOOK = "The activation strips fold up towards zero, row by row, and the gain says ×0.71."
ENTRIES = [
    CatalogEntry(
        Path("a/he_relu.toml"), "weight initialization", question="What does a factor do?"
    ),
    CatalogEntry(
        Path("a/xavier_relu.toml"),
        "weight initialization",
        question="Why does it starve?",
        look_at=LOOK,
        claims=("the spread falls by √½ a layer",),
    ),
    CatalogEntry(
        Path("b/cifar10_convnet.toml"), "babysitting", question="What do convolutions see?"
    ),
    CatalogEntry(Path("b/digits_mlp.toml"), "babysitting", question="What is healthy?"),
]
MISSING = "cifar10 is missing; fetch it: tuilab data fetch cifar10"


@dataclass
class Starts:
    """Replaces the start of a run: remembers which, and gives folders prepared before."""

    record: Record
    names: list[str] = field(default_factory=list)
    refusal: str = ""
    runs: int = 1

    def __call__(self, entry: CatalogEntry) -> list[Worker]:
        self.names.append(entry.name)
        if self.refusal:
            raise RunError(self.refusal)
        return [Worker(self.record().folder) for _ in range(self.runs)]


@pytest.fixture
def starts(record: Record) -> Starts:
    return Starts(record)


@pytest.fixture
def tour(starts: Starts) -> Tour:
    return Tour(ENTRIES, starts, {ENTRIES[2].path: MISSING}, at=1)


def verdict(passed: bool | None) -> Verdict:
    return Verdict("the spread falls", "loss", "end", 0.7, "< 1", passed, "below", 1.0)


async def picking(tour: Tour, *keys: str, size: tuple[int, int] = (80, 24)) -> CatalogEntry | None:
    """Press keys in the list, and return what it is left with."""
    app = PickerApp(tour)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        assert not app.is_running or keys == ()
    return app.return_value


def screen(app: Any) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


class TestPicker:
    @pytest.mark.parametrize("size", [(80, 24), (120, 36), (40, 12)])
    async def test_it_lists_chapters_and_scenarios_with_their_question(
        self, tour: Tour, size: tuple[int, int]
    ) -> None:
        app = PickerApp(tour)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            shown = screen(app)
            for entry in ENTRIES[:2]:
                assert entry.name in shown
            if size[0] < 80:
                return
            for part in ("Weight initialization", "Babysitting", "What is healthy?", "enter run it",
                         "look at  The activation strips", "claim  the spread falls by √½ a layer",
                         "a tour of 4 scenarios"):  # fmt: skip
                assert part in shown, part
            assert shown.index("he_relu") < shown.index("Babysitting") < shown.index("digits_mlp")

    @pytest.mark.parametrize(
        ("keys", "name"),
        [
            (["enter"], "xavier_relu"),  # the place in the tour
            (["up", "enter"], "he_relu"),
            (["k", "enter"], "he_relu"),
            (["down", "down", "enter"], "digits_mlp"),  # over a heading
            (["j", "j", "enter"], "digits_mlp"),
            (["end", "enter"], "digits_mlp"),
            (["pagedown", "enter"], "digits_mlp"),
            (["end", "pageup", "enter"], "he_relu"),
            (["home", "enter"], "he_relu"),
        ],
    )
    async def test_keys_choose(self, tour: Tour, keys: list[str], name: str) -> None:
        entry = await picking(tour, *keys)
        assert entry is not None
        assert entry.name == name

    @pytest.mark.parametrize("key", ["escape", "q", "t", "ctrl+c", "ctrl+q"])
    async def test_keys_leave(self, tour: Tour, key: str) -> None:
        assert await picking(tour, key) is None

    async def test_what_cannot_be_run_here_says_why(self, tour: Tour) -> None:
        app = PickerApp(tour)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await pilot.press("down")
            await pilot.pause()
            assert MISSING in screen(app)
            await pilot.press("enter")
            await pilot.pause()
            assert app.is_running
            assert [n.message for n in app._notifications] == [MISSING]

    async def test_what_has_been_run_has_its_verdict(self, tour: Tour) -> None:
        tour.results.update(he_relu=True, xavier_relu=False)
        app = PickerApp(tour)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert "✓ he_relu" in screen(app)
            assert "✗ xavier_relu" in screen(app)
            await pilot.resize_terminal(120, 36)
            await pilot.pause()
            assert "✓ he_relu" in screen(app)


def messages(app: ViewerApp) -> list[str]:
    return [notification.message for notification in app._notifications]


class TestOnTheWay:
    async def following(self, app: ViewerApp, pilot: Pilot[Worker]) -> None:
        await sent(app)
        await settle(app, pilot)

    @pytest.mark.parametrize("size", [(80, 24), (120, 36)])
    async def test_it_says_what_to_look_at(
        self, record: Record, client: FakeClient, tour: Tour, size: tuple[int, int]
    ) -> None:
        async with viewing(record(steps=20).folder, client, size=size, tour=tour) as (app, _):
            shown = text(app)
            assert "tour 2/4" in shown
            assert "The activation strips fold up" in shown
            assert "> next scenario" in shown
            assert "claims hold" not in shown  # not before the end
            assert "q leave" in shown
            assert "─ Loss" in shown

    @pytest.mark.parametrize(
        ("passed", "words"),
        [(True, "✓ as claimed  1 of 1 claims hold"), (False, "✗ not as claimed  0 of 1 claims")],
    )
    async def test_the_end_has_a_verdict(
        self, record: Record, client: FakeClient, tour: Tour, passed: bool, words: str
    ) -> None:
        recording = record(steps=20)
        recording.end("finished")
        found = Claims([verdict(passed)])
        async with viewing(
            recording.folder, client, size=(80, 24), tour=tour, judge=lambda _: found
        ) as (app, pilot):
            await until(app, pilot, lambda: words in text(app))
            assert "next digits_mlp  >" in text(app)  # over the one that cannot be run
            assert tour.results == {"xavier_relu": passed}

    async def test_a_run_that_was_stopped_has_none(
        self, record: Record, client: FakeClient, tour: Tour
    ) -> None:
        recording = record(steps=20)
        recording.end("stopped")
        found = Claims([verdict(False)])
        async with viewing(recording.folder, client, tour=tour, judge=lambda _: found) as (
            app,
            pilot,
        ):
            await until(app, pilot, lambda: app.dashboard.claims is found)
            assert "not as claimed" not in text(app)
            assert "next digits_mlp" in text(app)
            assert tour.results == {}

    async def test_next_and_previous(
        self, record: Record, client: FakeClient, tour: Tour, starts: Starts
    ) -> None:
        async with viewing(record().folder, client, tour=tour) as (app, pilot):
            first = app.worker
            await pilot.press("greater_than_sign")
            await self.following(app, pilot)
            assert starts.names == ["digits_mlp"]
            assert "tour 4/4" in text(app)
            assert app.worker is not first
            assert [command.kind for command in client.sent] == ["stop"]
            await pilot.press("greater_than_sign")
            await self.following(app, pilot)
            assert "this is the last scenario" in messages(app)
            await pilot.press("less_than_sign")
            await self.following(app, pilot)
            await pilot.press("less_than_sign")
            await self.following(app, pilot)
            await pilot.press("less_than_sign")
            await self.following(app, pilot)
            assert starts.names == ["digits_mlp", "xavier_relu", "he_relu"]
            assert "this is the first scenario" in messages(app)

    async def test_back_to_the_list_and_to_another(
        self, record: Record, client: FakeClient, tour: Tour, starts: Starts
    ) -> None:
        async with viewing(record().folder, client, tour=tour) as (app, pilot):
            await pilot.press("t")
            await pilot.pause()
            assert isinstance(app.screen, PickerScreen)
            assert app.screen.query_one(OptionList).highlighted == 2  # the place in the tour
            await pilot.press("escape")
            await self.following(app, pilot)
            assert not starts.names
            assert not client.sent
            await pilot.press("t")
            await pilot.pause()
            await pilot.press("up", "enter")
            await self.following(app, pilot)
            assert starts.names == ["he_relu"]
            assert "tour 1/4" in text(app)

    async def test_a_comparison_begins_all_its_variants(
        self, record: Record, client: FakeClient, tour: Tour, starts: Starts
    ) -> None:
        starts.runs = 2
        async with viewing(record().folder, client, tour=tour) as (app, pilot):
            await pilot.press("greater_than_sign")
            await self.following(app, pilot)
            assert len(app.session.runs) == 2
            assert app.worker == app.session.runs[0]
            await pilot.press("v")
            await self.following(app, pilot)
            assert app.worker == app.session.runs[1]
            starts.runs = 1
            await pilot.press("less_than_sign")
            await self.following(app, pilot)
            assert app.session.runs == [app.worker]

    @pytest.mark.parametrize("second_holds", [True, False])
    async def test_a_comparison_has_a_verdict_once_all_its_runs_have_ended(
        self, record: Record, client: FakeClient, tour: Tour, second_holds: bool
    ) -> None:
        first, second = record(steps=20), record(steps=20)
        first.end("finished")

        def judge(folder: RunFolder) -> Claims:
            return Claims([verdict(folder == first.folder or second_holds)])

        async with viewing(first.folder, client, second.folder, tour=tour, judge=judge) as (
            app,
            pilot,
        ):
            await until(app, pilot, lambda: bool(app.dashboard.claims.verdicts))
            assert "as claimed" not in text(app)
            assert tour.results == {}
            second.end("finished")
            await until(app, pilot, lambda: "as claimed" in text(app))
            assert f"{1 + second_holds} of 2 claims hold" in text(app)
            assert tour.results == {"xavier_relu": second_holds}

    async def test_a_scenario_that_cannot_be_started(
        self, record: Record, client: FakeClient, tour: Tour, starts: Starts
    ) -> None:
        starts.refusal = "runs/ cannot be written"
        async with viewing(record().folder, client, tour=tour) as (app, pilot):
            await pilot.press("greater_than_sign")
            await self.following(app, pilot)
            assert "runs/ cannot be written" in messages(app)
            assert "tour 2/4" in text(app)  # where it was

    @pytest.mark.parametrize("key", ["greater_than_sign", "less_than_sign", "t"])
    async def test_outside_of_a_tour_the_keys_say_so(
        self, record: Record, client: FakeClient, key: str
    ) -> None:
        async with viewing(record().folder, client) as (app, pilot):
            assert "next scenario" not in text(app)
            await pilot.press(key)
            await pilot.pause()
            assert "tuilab tour goes through the scenarios" in messages(app)
            assert client.sent == []

    async def test_a_scenario_that_says_nothing_to_look_at_shows_its_title(
        self, record: Record, client: FakeClient, starts: Starts
    ) -> None:
        entry = CatalogEntry(Path("a/plain.toml"), "babysitting", title="A plain one")
        async with viewing(record().folder, client, tour=Tour([entry], starts)) as (app, _):
            assert "tour 1/1  A plain one" in text(app)

    async def test_long_words_leave_room_for_the_panels(
        self, record: Record, client: FakeClient, starts: Starts
    ) -> None:
        entry = CatalogEntry(Path("a/long.toml"), "babysitting", look_at="very long words " * 60)
        async with viewing(
            record(steps=20).folder, client, size=(40, 12), tour=Tour([entry], starts)
        ) as (app, pilot):
            for size in ((40, 10), (80, 24), (20, 5), (120, 36)):
                await pilot.resize_terminal(*size)
                await settle(app, pilot)
                assert ("tour 1/1" in text(app)) == (size != (20, 5))


async def until(app: ViewerApp, pilot: Pilot[Worker], condition: Callable[[], bool]) -> None:
    """Let the app go on until `condition` holds; fail after a while."""
    for _ in range(100):
        await settle(app, pilot)
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(text(app))
