"""The layers of several runs side by side: the table as text, and the panel through Pilot."""

from typing import Any

import numpy as np
import pytest

from engine.statistics.frames import Snapshot
from tests.tuilab.support import layer_infos
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Network, snapshot
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.text import plain, width
from tuilab.record import RunInfo
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels.base import ComparedTensors
from tuilab.viewer.panels.side_by_side import (
    CHOICES,
    RunLayers,
    choices,
    compared,
    depth,
    side_by_side,
    title,
)


def taken(step: int = 0, **network: Any) -> Snapshot:
    net = Network(**({"units": 30} | network))
    return snapshot(step, net.step()[2], net.activation)


def run(name: str = "a", role: str = "train", step: int = 0, **network: Any) -> RunLayers:
    shot = taken(step, **network)
    info = RunInfo(layers=tuple(layer_infos(len(shot.statistics))), input_std=1.0)
    return RunLayers(name, role, Table.of(shot, info))


HEALTHY: dict[str, Any] = {"depth": 3, "gain": 2**0.5}
STARVED: dict[str, Any] = {"depth": 3, "gain": 0.5}


def lines(
    runs: list[RunLayers], cells: int = 80, rows: int = 1, view: ComparedTensors = "both"
) -> list[str]:
    built = side_by_side(runs, cells, rows, view)
    assert all(width(line) <= cells for line in built)
    return [plain(line) for line in built]


def test_the_table_of_two_runs_as_text() -> None:
    runs = [run("he", **HEALTHY), run("starved", "gradient", 7, **STARVED)]
    assert lines(runs, 76, view="activation") == [
        "       │ ─ he                             │ ─ starved                       ",
        "       │ step 0  → ×0.92                  │ step 7  → ×0.33                 ",
        "       │        0…4            std  fwd → │        0…4            std  fwd →",
        "1 relu │ ▇▇▇▆▆▅▅▅▄▄▃▃▂▂▂▂▁ 8.4e-01  ×0.84 │ ▇▆▅▄▂▂▁           3.0e-01  ×0.30",
        "2 relu │ ▇▇▇▆▆▅▅▅▄▃▃▃▂▂▁▁▁ 8.0e-01  ×0.96 │ ▇▃▁               1.0e-01  ×0.34",
        "3 relu │ ▇▇▆▅▅▄▄▃▃▂▂▂▁▁▁▁▁ 7.1e-01  ×0.88 │ ▇                 3.1e-02  ×0.31",
        "output │ ▁▁▂▃▄▅▇▆▅▃▂▂▁▁ ±4 1.1e+00      – │       ▇▆       ±4 1.8e-02      –",
    ]


def test_layers_may_have_several_lines_and_numbers_stand_for_strips_without_room() -> None:
    runs = [run("he", **HEALTHY), run("starved", "gradient", 7, gain=0.5, depth=2)]
    assert lines(runs, 60, rows=2) == [
        "       │ ─ he                     │ ─ starved               ",
        "       │ step 0  → ×0.92          │ step 7  → ×0.34         ",
        "       │   0…4       std    dL/dA │   0…4       std    dL/dA",
        "       │ ▇▅▄▁                     │ ▇                       ",
        "1 relu │ ████▆▄▃ 8.4e-01  1.1e-03 │ ██▃▁    2.9e-01  1.2e-04",
        "       │ ▇▆▃▁                     │ ▇                       ",
        "2 relu │ ████▆▄▃ 8.0e-01  1.1e-03 │ █▁      1.0e-01  3.5e-04",
        "       │ ▇▄▁                      │                         ",
        "3 relu │ ███▆▅▃▂ 7.1e-01  1.1e-03 │                         ",
        "       │   ▂▇▁                    │    ▇                    ",
        "output │ ▂▅███▅▂ 1.1e+00  1.3e-03 │    █    5.7e-02  1.2e-03",
    ]


def test_layers_that_a_run_has_not_are_blank_and_the_outputs_stand_beside_each_other() -> None:
    deep, shallow = run("deep", depth=5), run("shallow", depth=2)
    assert depth([deep, shallow]) == 6
    table = lines([deep, shallow])
    assert len(table) == 3 + 6
    right = [line.rpartition("│")[2].strip() for line in table[3:]]
    assert [bool(cells) for cells in right] == [True, True, False, False, False, True]
    assert [line[:7].strip() for line in table[3:]] == [
        *("1 relu", "2 relu", "3 relu", "4 relu", "5 relu", "output")
    ]


def test_rows_are_named_by_number_where_runs_differ_in_their_non_linearity() -> None:
    tanh = run("tanh", **HEALTHY, activation="tanh")
    infos = tuple(
        layer.__class__(layer.index, layer.name.replace("relu", "tanh"), "linear", 8, "tanh")
        for layer in tanh.table.layers
    )
    other = RunLayers("tanh", "train", Table(tanh.table.snapshot, infos, 1.0))
    table = lines([run("relu", **HEALTHY), other])
    assert [line.split()[0] + line[1:6].strip() for line in table[3:6]] == ["1", "2", "3"]


def test_all_runs_have_one_axis() -> None:
    small, large = run("small", **STARVED), run("large", **HEALTHY)
    alone, beside = (
        lines([small], 40, view="activation"),
        lines([small, large], 76, view="activation"),
    )
    assert alone[2].split()[1] != beside[2].split()[1]  # the axis of the larger one holds for both
    assert beside[2].count(beside[2].split()[1]) == 2


@pytest.mark.parametrize("view", CHOICES)
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("cells", [36, 76, 116, 196])
def test_what_there_is_no_room_for_is_left_out(
    cells: int, number: int, view: ComparedTensors
) -> None:
    runs = [run(f"a run with a long name {k}", **HEALTHY) for k in range(number)]
    table = lines(runs, cells, 2, view)
    assert len(table) == 3 + 2 * 4
    blocks = table[1].count("step 0")
    assert blocks == number or f"{blocks} of {number} runs" in title(runs, cells, view)
    assert table[4].count("e+") + table[4].count("e-") >= blocks  # a number for each at least


def test_an_axis_that_does_not_fit_is_not_cut_off() -> None:
    tiny = [run(name, depth=3, gain=0.02) for name in "ab"]
    wide, narrow = lines(tiny, 160)[2], lines(tiny, 75)[2]
    axis = next(word for word in wide.split() if word.startswith("±"))
    assert len(axis) > 6  # the cells of a strip
    assert axis[:5] not in narrow
    assert narrow.count("dL/dA") == 2


def test_the_title_says_what_is_shown_and_ways_leave_out_what_is_the_same() -> None:
    runs = [run(str(k), **HEALTHY) for k in range(4)]
    assert title(runs, 196, "both") == "Layers side by side: activation and dL/dA"
    assert title(runs, 76, "both") == "Layers side by side: activation"
    assert title(runs, 36, "gradient") == "Layers side by side: dL/dA, 2 of 4 runs"
    assert choices(runs, 196) == CHOICES
    assert choices(runs, 76) == ("activation", "gradient")


def test_what_is_not_finite_is_a_cross_in_the_colour_of_errors() -> None:
    broken = run("broken", **HEALTHY)
    statistics = broken.table.snapshot.statistics
    statistics[1, :, 7] = statistics[1, :, 0]
    broken.table.snapshot.histograms[1] = 0
    statistics[1, :, :7] = np.nan
    built = side_by_side([run("fine", **HEALTHY), broken], 120)
    assert ("⊘ NaN", "error") in [(t.strip(), role) for t, role in built[4]]
    assert "⊘" not in "".join(plain(line) for line in [*built[:4], *built[5:]])


def test_runs_are_compared_at_the_snapshot_nearest_to_the_step(
    record: Record, follow: Follow
) -> None:
    recording = record(steps=1)
    for _ in range(3):
        recording.steps(10)
    store = follow(recording.folder)
    assert store.nearest(3) is None  # not opened yet
    store.poll()
    found = [store.nearest(step) for step in (0, 3, 8, 22, 10_000)]
    assert [shot.step for shot in found if shot] == [0, 0, 10, 20, 30]
    assert store.nearest(29) is store.nearest(31)  # read once
    assert [shown.name for shown in compared(store, ())] == ["run0"]


async def test_a_key_goes_through_the_ways_to_show_layers_side_by_side(
    record: Record, client: FakeClient
) -> None:
    first, second = record(steps=11), record(steps=1, depth=4)
    second.steps(5)
    async with viewing(first.folder, client, second.folder) as (app, pilot):
        assert "Layers side by side" not in text(app)
        seen = []
        for _ in range(4):
            await pilot.press("C")
            await settle(app, pilot)
            shown = text(app)
            seen.append(shown.partition("Layers side by side: ")[2].partition(" ─")[0])
            if seen[-1]:
                assert "─ run0" in shown
                assert "step 10" in shown
                assert "step 5" in shown
        assert seen == [*("activation and dL/dA", "activation", "dL/dA", "")]


async def test_side_by_side_follows_the_time_that_is_looked_at(
    record: Record, client: FakeClient
) -> None:
    first, second = record(steps=1), record(steps=1)
    for recording in (first, second):
        recording.steps(9)
    async with viewing(first.folder, client, second.folder, side_by_side=True) as (app, pilot):
        assert text(app).count("step 9  ") >= 2
        await pilot.press("home")
        await settle(app, pilot)
        assert text(app).count("step 0  ") >= 2
        await pilot.press("c")  # no curves of others, no layers of theirs
        await settle(app, pilot)
        assert "side by side" not in text(app)


async def test_side_by_side_is_a_tab_on_small_screens_and_scrolls(
    record: Record, client: FakeClient
) -> None:
    first, second = record(steps=3, depth=30), record(steps=3, depth=12)
    async with viewing(first.folder, client, second.folder, size=(80, 24), side_by_side=True) as (
        app,
        pilot,
    ):
        assert "side by side" not in text(app)
        await pilot.press("2")
        await settle(app, pilot)
        assert "layers 1–15 of 31" in text(app)
        await pilot.press("pagedown", "down")
        await settle(app, pilot)
        assert "layers 17–31 of 31" in text(app)


async def test_a_run_alone_has_nothing_beside_it(record: Record, client: FakeClient) -> None:
    async with viewing(record().folder, client) as (app, pilot):
        await pilot.press("C")
        assert [n.message for n in app._notifications] == [
            "there is no other run; tuilab compare shows several"
        ]
        assert "layers beside" not in text(app)
