"""The screen of a program's output: follow, scroll, back; and where there is none."""

import pytest

from tests.tuilab.viewer.conftest import FakeClient
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import settle, viewing
from tuilab.charts.text import plain
from tuilab.viewer.screens.output_screen import OutputPanel, OutputScreen


def shown(panel: OutputPanel) -> list[str]:
    return [plain(line) for line in panel.lines]


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
async def test_the_output_is_followed_until_it_is_scrolled(
    recording: Recording, client: FakeClient, size: tuple[int, int]
) -> None:
    log = recording.folder.log
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    async with viewing(recording.folder, client, size=size) as (app, pilot):
        await pilot.press("o")
        await settle(app, pilot)
        assert isinstance(app.screen, OutputScreen)
        panel = app.screen.query_one(OutputPanel)
        assert shown(panel)[-1] == "line 99"
        assert len(shown(panel)) == panel.page

        with log.open("a") as file:
            file.write("\x1b[31m" + "wide " * 20 + "\x07\n[bold]last[/bold]\n")
        app.screen.draw()
        assert shown(panel)[-1] == "[bold]last[/bold]"
        assert "".join(shown(panel)).endswith("wide " * 20 + "[bold]last[/bold]")

        await pilot.press("home")
        assert shown(panel)[0] == "line 0"
        await pilot.press("down")
        assert shown(panel)[0] == "line 1"
        with log.open("a") as file:
            file.write("more\n")
        app.screen.draw()
        assert shown(panel)[0] == "line 1"
        await pilot.press("pagedown")
        assert shown(panel)[0] == f"line {panel.page}"
        await pilot.press("end")
        assert shown(panel)[-1] == "more"
        await pilot.press("o")
        assert not isinstance(app.screen, OutputScreen)


async def test_a_run_without_a_log_says_so(recording: Recording, client: FakeClient) -> None:
    async with viewing(recording.folder, client) as (app, pilot):
        await pilot.press("o")
        await settle(app, pilot)
        assert not isinstance(app.screen, OutputScreen)
        assert [n.message for n in app._notifications] == [
            "the output of this run was not recorded"
        ]
