"""The ways to draw strips, against literal text; and the keys that choose among them."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.statistics.frames import BINS
from tests.tuilab.viewer.conftest import FakeClient, Follow, Record
from tests.tuilab.viewer.test_charts import make
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts.distributions import Axis, Histogram, rebin
from tuilab.charts.strips import STYLES, bands, heat, log_axis
from tuilab.charts.text import plain
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.panels.layers import Layers, StripView, table_lines

EVEN = dict.fromkeys(range(BINS), 10.0)


def gaussian(std: float, **more: Any) -> Histogram:
    """Return the histogram of a Gaussian sample in bins of the nearest power of two."""
    sample = np.random.default_rng(0).normal(0, std, 20_000)
    high = 2.0 ** math.ceil(math.log2(4 * std))
    counts, _ = np.histogram(sample, BINS, (-high, high))
    return make(dict(enumerate(counts.astype(float))), -high, high, std=std, **more)


def test_heat_is_the_darker_the_more_values_there_are() -> None:
    h = make({0: 4, 16: 16, 32: 100, 48: 1})
    assert heat(h, Axis(-1, 1), 4) == ["·░█·"]
    assert heat(make(EVEN), Axis(-1, 1), 8, 3) == ["████████"] * 3


def test_heat_of_one_value_is_one_cell() -> None:
    assert heat(make({48: 100}, std=0.0, mean=0.5), Axis(-1, 1), 8) == ["      █ "]


def test_bands_show_five_percentiles() -> None:
    assert bands(make(EVEN), Axis(-1, 1), 19) == ["╶───▒▒▒▒▒█▒▒▒▒▒───╴"]
    skewed = make({0: 60, 16: 25, 32: 10, 48: 5})
    assert bands(skewed, Axis(-1, 1), 16) == ["█▒▒▒▒───────╴   "]


def test_the_box_of_a_tall_row_stands_apart_from_the_next() -> None:
    assert bands(make(EVEN), Axis(-1, 1), 10, 3) == [
        "          ",
        "  ▒▒▒█▒▒  ",
        "╶─▒▒▒█▒▒─╴",
    ]


def test_narrow_bands_keep_their_median() -> None:
    narrow = make(EVEN, -0.01, 0.01)
    assert bands(narrow, Axis(-1, 1), 9) == ["    █    "]
    assert bands(make({48: 7}, std=0.0, mean=0.5), Axis(-1, 1), 8) == ["      █ "]


@pytest.mark.parametrize("way", STYLES)
def test_what_is_not_finite_shows_in_every_way(way: str) -> None:
    draw = STYLES[way]
    assert draw(make({0: 49, 32: 49}, nonfinite=3.0), Axis(-1, 1), 8, 2)[-1][-1] == "⊘"
    assert draw(make({}, nonfinite=3.0), Axis(-1, 1), 8, 2) == [" " * 8, "⊘ NaN   "]
    assert draw(make({}, 0.0, 0.0), Axis(-1, 1), 8, 1) == [" " * 8]


@pytest.mark.parametrize("way", STYLES)
@pytest.mark.parametrize("axis", [Axis(-1, 1), Axis(0, 1), Axis(1e-6, 10, log=True)])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_every_way_fills_its_cells(way: str, axis: Axis, rows: int) -> None:
    for h in (make(EVEN), make({0: 1}), gaussian(1e-3), make({}, nonfinite=1), make({5: 1}, std=0)):
        for columns in (1, 2, 7, 40):
            lines = STYLES[way](h, axis, columns, rows)
            assert [len(line) for line in lines] == [columns] * rows


def test_a_logarithmic_axis_holds_whole_decades_of_all_layers() -> None:
    axis = log_axis([gaussian(1.0), gaussian(1e-4), make({}, nonfinite=2)])
    assert axis == Axis(10.0**-5, 10.0, log=True)
    assert axis.middle == pytest.approx(1e-2)
    assert log_axis([]) == Axis(1e-3, 1.0, log=True)
    assert log_axis([make({48: 1}, std=0.0, mean=-0.02)]) == Axis(10.0**-2, 10.0**-1, log=True)


def test_on_a_logarithmic_axis_a_smaller_layer_is_the_same_further_left() -> None:
    axis = Axis(1e-4, 10.0, log=True)
    large, small = (rebin(gaussian(std), axis, 50) for std in (2.0**-1, 2.0**-8))
    shift = round(7 * math.log10(2) * 10)
    np.testing.assert_allclose(large[shift + 5 : 45], small[5 : 45 - shift], atol=400)
    assert int(np.argmax(large)) - int(np.argmax(small)) == pytest.approx(shift, abs=1)


def test_values_within_one_bin_are_taken_for_a_gaussian() -> None:
    axis = Axis(1e-6, 1.0, log=True)
    columns = []
    for std in (1e-2, 1e-3, 1e-4):  # of tanh: all in the two bins beside 0
        h = make({31: 500, 32: 500}, std=std, min=-4 * std, max=4 * std)
        columns.append(int(np.argmax(rebin(h, axis, 60))))
        low, middle, high = h.quantiles((0.05, 0.5, 0.9973), magnitude=True)
        assert middle == pytest.approx(0.6745 * std, rel=0.01)
        assert (low, high) == (
            pytest.approx(0.0627 * std, rel=0.02),
            pytest.approx(3 * std, rel=0.02),
        )
    assert [a - b for a, b in pairwise(columns)] == [10, 10]


def table(record: Record, follow: Follow, **network: Any) -> Table:
    store = follow(record(**network).folder)
    store.poll()
    assert store.snapshot is not None
    return Table.of(store.snapshot, store.info)


def test_a_wide_table_has_three_strips_a_narrow_one_two(record: Record, follow: Follow) -> None:
    found = table(record, follow, units=100)
    wide = [plain(line) for line in table_lines(found, 156)]
    assert "dL/dW" in wide[0]
    assert wide[2].count("▇") >= 3
    tanh = table_lines(found, 156, view=StripView("heat", log=True))
    assert "|activation|" in plain(tanh[0])
    assert all(name in plain(tanh[0]) for name in ("|dL/dA|", "|dL/dW|"))
    narrow = [plain(line) for line in table_lines(found, 116, view=StripView("heat", log=True))]
    assert "|dL/dW|" not in narrow[0]


@pytest.mark.parametrize(
    "look", [StripView(name, log=log) for name in STYLES for log in (False, True)]
)
def test_numbers_do_not_move_with_the_look(record: Record, follow: Follow, look: StripView) -> None:
    found = table(record, follow, units=60)
    for cells in (36, 76, 156, 196):
        plainly, looked = table_lines(found, cells, 2), table_lines(found, cells, 2, look)
        assert [len(plain(line)) for line in plainly] == [len(plain(line)) for line in looked]
        std = f"{found.snapshot.field('activation', 'std')[3]:.1e}"
        assert plain(plainly[9]).index(std) == plain(looked[9]).index(std)


async def test_h_goes_round_the_ways_and_H_changes_the_axis(
    record: Record, client: FakeClient
) -> None:
    async with viewing(record(units=100).folder, client) as (app, pilot):
        seen = []
        for key in ("h", "h", "h", "H", "h", "H"):
            await pilot.press(key)
            await settle(app, pilot)
            seen.append(str(app.dashboard.panel(Layers).border_title))
        log = ", magnitudes on a logarithmic axis"
        assert seen == ["Layers  heat", "Layers  percentiles", "Layers", f"Layers  bars{log}",
                        f"Layers  heat{log}", "Layers  heat"]  # fmt: skip
        assert "░" in text(app)
