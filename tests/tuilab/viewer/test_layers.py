"""The layer table, as plain lines; no app."""

from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import LayerInfo
from tests.tuilab.viewer.conftest import Follow, Record
from tests.tuilab.viewer.recorded import Recording
from tuilab.charts.text import plain
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.thresholds import DEFAULTS
from tuilab.viewer.panels.layer_columns import COLUMNS, choose
from tuilab.viewer.panels.layers import subtitle, table_lines


@pytest.fixture
def table(store: RunStore) -> Table:
    assert store.snapshot is not None
    return Table.of(store.snapshot, store.info)


def body(table: Table, cells: int, rows: int = 1) -> list[str]:
    return [plain(line) for line in table_lines(table, cells, rows)]


def test_the_table_has_a_row_for_each_layer_and_aligned_names(table: Table) -> None:
    names = [line[:9] for line in body(table, 156)[2:]]
    assert names[:2] == [" 1 relu  ", " 2 relu  "]
    assert names[-2:] == ["10 relu  ", "   output"]


def test_names_without_index_get_one(store: RunStore, recording: Recording) -> None:
    layers = [replace_name(layer) for layer in store.info.layers]
    assert store.snapshot is not None
    table = Table.of(store.snapshot, replace(store.info, layers=tuple(layers)))
    assert body(table, 156)[2].startswith(" 1 relu ")


def replace_name(layer: LayerInfo) -> LayerInfo:
    return replace(layer, name=layer.name.split()[-1])


def test_numbers_stand_below_each_other_and_are_never_cut(table: Table) -> None:
    std = [f"{v:.1e}" for v in table.snapshot.field("activation", "std")]
    for cells in range(36, 200, 7):
        lines = body(table, cells)
        assert {len(line) for line in lines} == {len(lines[0])}
        assert len(lines[0]) <= cells
        columns = {line.index(value) for line, value in zip(lines[2:], std, strict=True)}
        assert len(columns) == 1


def test_columns_go_by_priority(table: Table) -> None:
    everything = choose(table, 200, 9)
    assert set(everything) == {c.key for c in COLUMNS if not c.line} - {"sat"}
    narrow = choose(table, 76, 9)
    assert {"activation", "std", "gstd", "ratio", "forward", "backward"} <= set(narrow)
    assert set(choose(table, 36, 9)) >= {"activation", "std", "forward"}


def test_tanh_shows_saturation_instead_of_zeros(record: Record, follow: Follow) -> None:
    store = follow(record(activation="tanh").folder)
    store.poll()
    assert store.snapshot is not None
    columns = choose(Table.of(store.snapshot, store.info), 200, 9)
    assert "sat" in columns
    assert not {"zero", "dead"} & set(columns)


def test_tall_rows_keep_their_numbers_on_the_lowest_line(table: Table) -> None:
    lines = body(table, 156, rows=3)
    assert len(lines) == 2 + 3 * 11
    assert lines[2].startswith(" " * 9 + " │ ")
    assert lines[4].startswith(" 1 relu")
    assert "e-" not in lines[3]


def test_the_gain_column_says_what_the_snapshot_says(table: Table) -> None:
    forward = table.gains_forward()
    std = table.snapshot.field("activation", "std")
    assert forward[0] == pytest.approx(std[0] / 1.0)
    assert forward[9] == pytest.approx(std[9] / std[8])
    assert np.isnan(forward[10])
    backward = table.gains_backward()
    assert np.isnan(backward[9])
    assert all(0.5 < gain < 0.9 for gain in [*forward[:10], *backward[:9]])
    roles = [role for line in table_lines(table, 156)[2:12] for text, role in line if "×" in text]
    assert roles.count("warning") > 15


@pytest.mark.parametrize(
    ("role", "value", "expected"),
    [
        (DEFAULTS.gain, 1.0, ""),
        (DEFAULTS.gain, 0.7, "warning"),
        (DEFAULTS.gain, 1.3, "warning"),
        (DEFAULTS.gain, 0.4, "error"),
        (DEFAULTS.gain, 2.1, "error"),
        (DEFAULTS.gain, float("nan"), "faint"),
        (DEFAULTS.update_ratio, 1e-3, ""),
        (DEFAULTS.update_ratio, 9e-5, "warning"),
        (DEFAULTS.update_ratio, 0.02, "warning"),
        (DEFAULTS.update_ratio, 0.2, "error"),
        (DEFAULTS.dead, 0.1, ""),
        (DEFAULTS.dead, 0.11, "warning"),
        (DEFAULTS.dead, 0.41, "error"),
    ],
)
def test_tints(role: object, value: float, expected: str) -> None:
    assert role(value) == expected  # type: ignore[operator]


def test_the_lower_border_shortens_before_it_cuts(table: Table) -> None:
    long = subtitle(table, "", 100)
    assert long.startswith("gain per layer: forward ×0.")
    assert subtitle(table, "", 30).startswith("gain → ×0.")
    scroll = "layers 1–2 of 11 ↑↓"
    assert subtitle(table, scroll, 30) == scroll
