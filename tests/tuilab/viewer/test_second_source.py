"""A run of another training loop: the view names what it does not record, and draws no NaN."""

from pathlib import Path

import pytest

from engine.states import RunState
from tests.tuilab.record.test_second_source import record
from tests.tuilab.viewer.conftest import FakeClient, Follow
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.symbols import NOT_FINITE
from tuilab.charts.viewport import Viewport
from tuilab.record.run_folder import RunFolder, hold_lock
from tuilab.viewer.curves import KINDS, Scene


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return a finished regression: no accuracy, no learning rate, no dL/dA."""
    folder = RunFolder(tmp_path / "sine")
    folder.path.mkdir()
    record(folder)
    return folder


def test_charts_without_a_series_are_missing(folder: RunFolder, follow: Follow) -> None:
    store = follow(folder)
    store.poll()
    scene = Scene(store, (), Viewport())
    missing = {kind.name for kind in KINDS if kind.missing(scene)}
    assert missing == {"accuracy", "learning_rate"}


async def test_the_dashboard_names_what_is_not_recorded(
    folder: RunFolder, client: FakeClient
) -> None:
    async with viewing(folder, client) as (app, pilot):
        shown = text(app)
        assert "Accuracy" not in shown
        assert "Update ratio" in shown  # in its place
        assert "not recorded: dL/dA" in shown
        assert NOT_FINITE.glyph not in shown
        assert "NaN" not in shown
        await pilot.press("4")
        await settle(app, pilot)
        assert "backward: dL/dA is not recorded" in text(app)


async def test_a_layer_names_the_tensors_that_are_not_recorded(
    folder: RunFolder, client: FakeClient
) -> None:
    async with viewing(folder, client) as (app, pilot):
        await pilot.press("enter", "tab")
        await settle(app, pilot)
        shown = text(app)
        assert "pre-activation  not recorded" in shown
        assert "dL/dA over time: not recorded" in shown
        assert "momentum" in shown
        await pilot.press("down", "shift+tab")  # to the output layer, and past the first tensor
        await settle(app, pilot)
        await pilot.press("shift+tab")
        await settle(app, pilot)
        shown = text(app)
        assert "▸ momentum" in shown
        assert "momentum over time" in shown
        assert "NaN" not in shown


@pytest.mark.parametrize(("key", "kind"), [("M", "arm"), ("ctrl+s", "checkpoint")])
async def test_a_watched_program_is_measured_and_saved_by_key(
    tmp_path: Path, client: FakeClient, key: str, kind: str
) -> None:
    folder = RunFolder(tmp_path / "program")
    folder.path.mkdir()
    record(folder, capabilities=(kind,), state=RunState.RUNNING)
    lock = hold_lock(folder)
    async with viewing(folder, client) as (app, pilot):
        await pilot.press("M", "ctrl+s", "space", "n")
        await settle(app, pilot)
    lock.close()
    assert [command.kind for command in client.sent] == [kind]  # and nothing it cannot do
