"""Pictures of every screen in its states, held against those that were looked at and kept.

`TUILAB_SNAPSHOTS=keep pytest tests/tuilab/viewer/test_snapshots.py` keeps them as they are now;
`gunzip` makes a kept one an SVG to look at.
"""

import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.states import EventKind
from engine.statistics.frames import Event
from tests.tuilab.viewer import trees
from tests.tuilab.viewer.conftest import FakeClient, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.test_appearance import diverged, killed, paused, running, starting
from tests.tuilab.viewer.visits import settle, viewing
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model import store
from tuilab.viewer.terminal.screenshot import take

KEPT = Path(__file__).with_name("snapshots")
SIZES = [(80, 24), (160, 48)]
State = Callable[[Record], Recording]


def found(record: Record) -> Recording:
    """A run in which the diagnosis has found something."""
    recording = running(record)
    detail = {
        "rule": "dead_units",
        "severity": "warning",
        "layers": [7, 8],
        "first_step": 12,
        "measured": 0.18,
        "threshold": 0.1,
        "key": "diagnosis.dead_units.warning",
        "cause": "18 % of the units of layer 8 are silent on every example",
        "advice": "a lower learning rate",
    }
    recording.steps(3, events=[Event(recording.made, 0.2, EventKind.FINDING, detail)])
    return recording


CASES: dict[str, tuple[State, Sequence[str]]] = {
    "no_data_yet": (starting, ()),
    "running": (running, ()),
    "paused": (paused, ()),
    "diverged": (diverged, ()),
    "worker_dead": (killed, ()),
    "curves": (running, ("1",)),
    "layers_heat": (running, ("2", "h")),
    "layers_percentiles": (running, ("2", "h", "h")),
    "explanation": (running, ("3",)),
    "gain": (running, ("4",)),
    "back_in_time": (running, ("home",)),
    "detail_histograms": (running, ("enter",)),
    "detail_units": (running, ("enter", "u")),
    "findings": (found, ("a",)),
    "help": (running, ("question_mark",)),
    "learning_rate": (running, ("l",)),
    "change": (running, ("e",)),
    "leave": (running, ("q",)),
}

TREE_SIZES = [(80, 24), (120, 36), (200, 60)]
TREE_CASES: dict[str, Sequence[str]] = {
    "gpt": (),
    "gpt_layers": ("2",),
    "gpt_unfolded": ("2", *["down"] * 9, "enter"),
    "gpt_gain": ("4",),
}
"""A GPT of twelve blocks that is watched, and the keys."""


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the screen depends on no time: a worker is seen to be dead at once."""
    monkeypatch.setattr(store, "LIFE_CHECK", 0.0)
    monkeypatch.setattr(Input, "cursor_blink", False)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_screen_is_as_it_was_kept(
    name: str,
    size: tuple[int, int],
    record: Record,
    client: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, keys = CASES[name]
    monkeypatch.chdir(tmp_path)
    await compare(state(record).folder, f"{name}_{size[0]}x{size[1]}", size, keys, client)


@pytest.mark.parametrize("name", TREE_CASES)
@pytest.mark.parametrize("size", TREE_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_watched_program_is_as_it_was_kept(
    name: str,
    size: tuple[int, int],
    client: FakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = trees.recorded(tmp_path, "gpt")
    await compare(folder, f"{name}_{size[0]}x{size[1]}", size, TREE_CASES[name], client)


async def compare(
    folder: RunFolder, name: str, size: tuple[int, int], keys: Sequence[str], client: FakeClient
) -> None:
    """Hold the screen after some keys against the picture that was kept of it.

    The working directory contains the folder: what is shown of the path is the same everywhere.
    """
    async with viewing(RunFolder(Path(folder.path.name)), client, size=size) as (app, pilot):
        for key in keys:
            await pilot.press(key)
            await settle(app, pilot)
        while app.screen.query(Input) and app.focused is None:  # then its cursor is drawn
            await pilot.pause()
        picture = take(app)
    kept = KEPT / f"{name}.svg.gz"
    if os.environ.get("TUILAB_SNAPSHOTS") == "keep":
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(gzip.compress(picture.encode(), mtime=0))
    if gzip.decompress(kept.read_bytes()).decode() != picture:
        now = Path(f"{name}.svg").absolute()
        now.write_text(picture, encoding="utf-8")
        pytest.fail(f"the screen is another one than {kept.name}: look at {now}")
