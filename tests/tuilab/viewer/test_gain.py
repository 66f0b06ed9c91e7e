"""Gains against theory: bars against literal text, the panel without an app, and on the screen."""

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import Event, LayerInfo
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.bars import gain_bar
from tuilab.charts.text import plain, width
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.panels.gain import Gain, directions, gain_lines, span_of, tinted


@pytest.mark.parametrize(
    ("value", "theory", "drawn"),
    [
        (0.5, 0.5, "◆━━━┊    "),
        (0.7, 0.5, "◇ ●━┊    "),
        (2.0, 1.0, "    ◇━━━●"),
        (1.0, 1.0, "    ◆    "),
        (1.5, 0.5, "◇   ┊━●  "),
        (0.1, 0.7, "◀━◇━┊    "),
        (9.0, 4.0, "    ┊━━━▶"),
        (0.0, 0.7, "◀━◇━┊    "),
        (math.inf, math.nan, "    ┊━━━▶"),
        (math.nan, 0.7, "  ◇ ┊    "),
        (math.nan, math.nan, "    ┊    "),
    ],
)
def test_a_bar_runs_from_one_to_what_is_measured(value: float, theory: float, drawn: str) -> None:
    assert gain_bar(value, theory, 2.0, 9) == drawn


def test_what_is_expected_has_a_colour_of_its_own() -> None:
    spans = tinted("◇ ●━┊ ", "activation")
    assert spans == [("◇", "warning"), (" ●━", "activation"), ("┊", "faint"), (" ", "activation")]


def shown(store: RunStore, cells: int = 116, height: int = 40) -> list[str]:
    assert store.snapshot is not None
    table = Table.of(store.snapshot, store.info)
    lines = gain_lines(table, store.info, store.first_snapshot, cells, height)
    assert all(width(line) <= cells for line in lines)
    return [plain(line) for line in lines]


def test_the_verdict_compares_with_theory_and_says_what_is_left(store: RunStore) -> None:
    lines = shown(store)
    assert lines[0].startswith("▲ forward ×0.")
    assert lines[0].endswith("per layer: as theory predicts for relu with xavier weights")
    std = store.snapshot.field("activation", "std") if store.snapshot else np.empty(0)
    assert lines[1] == (
        f"  std after 10 layers: {100 * std[9]:.1f}% of the inputs'"
        " · σ_w√fan_in ×1.00, of which relu preserves ×0.71"
    )
    assert lines[2].endswith("per layer: as theory predicts for relu with xavier weights")
    assert "σ_w√fan_out ×1.00, of which relu′ passes on ×0.71" in lines[3]


def test_each_hidden_layer_has_a_row_with_both_numbers_and_marks(store: RunStore) -> None:
    lines = [line for line in shown(store) if line.strip()]
    rows = [line for line in lines if " relu  " in line and "│" in line]
    assert len(rows) == 10
    table = Table.of(store.snapshot, store.info) if store.snapshot else None
    assert table is not None
    for row, gain in zip(rows, table.gains_forward(), strict=False):
        assert f"×{gain:.2f}  ×0." in row
        assert row.count("┊") == 2
    assert rows[0].split("│")[1].split()[1] == "×0.58"  # √(½ − 1/2π): of the spread, not the mean
    assert rows[-1].split("│")[2].split()[:2] == ["–", "–"]


def test_a_gain_that_theory_does_not_expect_is_told(record: Record, follow: Follow) -> None:
    recording = record(units=100, gain=0.4)
    store = follow(recording.folder)
    store.poll()  # weights of 0.4/√fan_in, where the run says that they began with 1/√fan_in
    store._info = replace(store.info, layers=record(units=100).infos)
    assert ": theory predicts ×0.71 for relu with xavier weights" in shown(store)[0]


def test_what_training_has_changed_is_told(record: Record, follow: Follow) -> None:
    recording = record(units=100)
    recording.network.weights = [1.5 * w for w in recording.network.weights]
    recording.steps(1)
    store = follow(recording.folder)
    store.poll()
    assert (
        ": training changed it, from the ×0.71 that theory predicts for relu with xavier weights"
        in shown(store)[0]
    )
    store.look(-1)
    assert "as theory predicts" in shown(store)[0]


def test_where_there_is_no_theory_it_says_why(store: RunStore) -> None:
    layers = tuple(replace_first(layer) for layer in store.info.layers)
    store._info = replace(store.info, layers=layers)
    lines = shown(store)
    assert lines[0].endswith("; no theory: the first weights of layer 1 have no known spread")
    assert not any("◇" in line or "◆" in line for line in lines)


def replace_first(layer: LayerInfo) -> LayerInfo:
    return replace(layer, first=None)


def test_the_scale_holds_what_it_must(store: RunStore) -> None:
    assert store.snapshot is not None
    both, _ = directions(Table.of(store.snapshot, store.info), store.info, None)
    assert span_of(both) == 2.0
    both[0].measured[3] = 3.0
    assert span_of(both) == 4.0
    both[1].measured[0] = 1e-9
    assert span_of(both) == 100.0


@pytest.mark.parametrize("cells", [36, 44, 54, 76, 116, 196])
@pytest.mark.parametrize("height", [8, 16, 32])
def test_rows_come_before_explanations(store: RunStore, cells: int, height: int) -> None:
    lines = shown(store, cells, height)
    if height >= 16 + (cells < 70) * 8:
        assert len(lines) <= height
    assert any(line.startswith("10 relu") for line in lines)


def test_narrow_panels_have_the_verdict_in_numbers(store: RunStore) -> None:
    assert shown(store, 36, 8)[0].endswith(", theory ×0.71")
    assert shown(store, 36, 8)[0].startswith("▲ forward ×0.")


def test_a_shallow_network_has_gains_but_no_factor_a_layer(record: Record, follow: Follow) -> None:
    store = follow(record(depth=1).folder)
    store.poll()
    lines = shown(store)
    assert "forward: no factor per layer" in lines[0]
    assert any(line.startswith("1 relu") for line in lines)


def test_without_hidden_layers_there_is_nothing_to_draw(record: Record, follow: Follow) -> None:
    store = follow(record(depth=0).folder)
    store.poll()
    assert len(shown(store)) == 2


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 36), (200, 60)])
async def test_it_has_a_tab(record: Record, client: FakeClient, size: tuple[int, int]) -> None:
    async with viewing(record(units=100).folder, client, size=size) as (app, pilot):
        assert ("Gain  at step" in text(app)) is (size == (200, 60))
        await pilot.press("4")
        await settle(app, pilot)
        assert "Gain  at step 0" in text(app)
        assert "─ Loss" not in text(app)
        assert "4 gain" in text(app)
        await pilot.press(*["down"] * 20)
        await pilot.pause()
        assert "10 relu" in text(app)
        await pilot.press("0")
        await settle(app, pilot)
        if size[0] >= 120:
            assert "─ Loss" in text(app)


async def test_it_follows_the_time_machine(record: Record, client: FakeClient) -> None:
    recording: Recording = record(steps=1, units=100)
    recording.steps(5, events=[Event(1, 0.1, "set", {"key": "momentum", "value": 0.5})])
    async with viewing(recording.folder, client, size=(120, 36)) as (app, pilot):
        await pilot.press("4")
        await settle(app, pilot)
        assert "Gain  at step 5" in text(app)
        await pilot.press("left")
        await settle(app, pilot)
        assert "Gain  at step 0" in text(app)


@pytest.mark.parametrize(
    ("size", "seen"), [((200, 60), True), ((199, 60), False), ((200, 59), False)]
)
async def test_only_a_very_large_terminal_shows_it_beside_everything(
    record: Record, client: FakeClient, size: tuple[int, int], seen: bool
) -> None:
    async with viewing(record().folder, client, size=size) as (app, _):
        assert app.dashboard.panel(Gain).display is seen
