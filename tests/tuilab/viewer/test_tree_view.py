"""Watched programs on the screen: rows of modules, ranges, cursor, filter, gains, missing parts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tuilab.viewer import trees
from tests.tuilab.viewer.conftest import FakeClient, Follow
from tests.tuilab.viewer.trees import layers_of, record
from tests.tuilab.viewer.visits import settle, text, viewing
from tuilab.charts import formats
from tuilab.charts.bars import gain_range
from tuilab.charts.distributions import Histogram
from tuilab.charts.pooling import pooled
from tuilab.charts.sparkline import sparkline
from tuilab.charts.text import plain, width
from tuilab.charts.viewport import Viewport
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.curves import KINDS, Scene
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.layer_theory import layer_theory
from tuilab.viewer.panels.explanation import explanation_lines
from tuilab.viewer.panels.gain_rows import row_gain_lines
from tuilab.viewer.panels.layer_columns import COLUMNS, cells, choose
from tuilab.viewer.panels.layers import Layers, subtitle
from tuilab.viewer.screens.layer_screen import LayerScreen


@pytest.fixture
def gpt(tmp_path: Path) -> RunFolder:
    return record(RunFolder(tmp_path / "gpt"), trees.gpt(), snapshots=1)


def table_of(folder: RunFolder, follow: Follow) -> Table:
    store = follow(folder)
    store.poll()
    return Table.of_store(store) or pytest.fail("no statistics")


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.31, 0.92, "0.31…0.92"),
        (3.1e-5, 4.2e-5, "3.1…4.2e-5"),
        (3.1e-5, 4.2e-3, "3e-5…4e-3"),
        (-0.03, 0.02, "−0.03…0.02"),
        (0.5, 0.501, "0.50"),
        (0.0, 0.3, "0…0.30"),
        (-1.2e-12, 3e-10, "±3e-10"),
        (1e-12, 3e-10, "≤3e-10"),
    ],
)
def test_a_range_fits_into_its_column(low: float, high: float, shown: str) -> None:
    assert formats.span(low, high) == shown


def test_a_line_over_depth_shows_factors() -> None:
    assert sparkline(np.ones(5), 12) == "▄▄▄▄▄"
    assert sparkline(np.exp2(np.arange(7.0)), 12) == "▁▂▃▄▅▆▇"
    assert sparkline(np.array([1.0, 1.05, 0.97]), 12) == "▄▄▄"
    assert sparkline(np.array([1.0, math.nan, 0.0, 1.0]), 12) == "▄  ▄"
    assert len(sparkline(np.geomspace(1, 1e6, 500), 12)) == 12
    assert sparkline(np.full(3, math.nan), 12) == "   "


def test_pooled_histograms_have_equal_weights() -> None:
    def flat(low: float, high: float, count: float) -> Histogram:
        bins = np.array([0.0, *[count] * 64, 0.0])
        middle, std = (low + high) / 2, (high - low) / math.sqrt(12)
        return Histogram(bins, low, high, middle, std, low, high)

    both = pooled([flat(-1, 0, 1.0), flat(0, 1, 900.0)])
    assert both.total == pytest.approx(2)
    assert both.mean == pytest.approx(0)
    assert both.std == pytest.approx(2 / math.sqrt(12))
    assert both.bins[1:33].sum() == pytest.approx(1)
    assert math.isnan(pooled([Histogram(np.zeros(66), *[math.nan] * 6)] * 2).mean)


def test_a_range_of_gains_is_drawn_from_end_to_end() -> None:
    assert gain_range(0.5, 2.0, math.nan, 4.0, 9) == "  ●━━━●  "
    assert gain_range(0.01, 1.0, 2.0, 4.0, 9) == "◀━━━● ◇  "


def test_gains_follow_from_each_layers_own_input(gpt: RunFolder, follow: Follow) -> None:
    table = table_of(gpt, follow)
    field = table.snapshot.field
    assert not table.chain
    np.testing.assert_allclose(
        table.gains_forward(), field("activation", "std") / field("input", "std")
    )
    np.testing.assert_allclose(
        table.gains_backward(), field("input_grad", "std") / field("activation_grad", "std")
    )
    assert np.isnan(table.gains_forward()[:2]).all()  # embeddings of integers


def test_without_inputs_only_a_chain_has_gains(tmp_path: Path, follow: Follow) -> None:
    without = ("input", "input_grad")
    mlp = record(RunFolder(tmp_path / "mlp"), trees.mlp(), snapshots=1, without=without)
    table = table_of(mlp, follow)
    std = table.snapshot.field("activation", "std")
    np.testing.assert_allclose(table.gains_forward()[1], std[1] / std[0])
    gpt = record(RunFolder(tmp_path / "gpt"), trees.gpt(2), snapshots=1, without=without)
    assert np.isnan(table_of(gpt, follow).gains_forward()).all()


def test_theory_is_given_where_weights_and_non_linearity_are_known(
    tmp_path: Path, follow: Follow
) -> None:
    modules = trees.mlp()
    folder = record(RunFolder(tmp_path / "mlp"), modules, snapshots=1, first=True)
    table = table_of(folder, follow)
    forward, backward = layer_theory(table, 2)  # linear: σ_w √fan_in √(std² + mean²) / std
    assert forward == pytest.approx(1.0, rel=0.02)
    assert backward == pytest.approx(math.sqrt(10 / 32), rel=0.02)
    assert 0.5 < layer_theory(table, 0)[0] < 0.65  # ReLU: √(½ − 1/2π) = 0.58
    unknown = table_of(record(RunFolder(tmp_path / "no"), modules, snapshots=1), follow)
    assert all(math.isnan(value) for value in layer_theory(unknown, 0))


@pytest.mark.parametrize("cells", [54, 76, 116, 196])
def test_the_gain_panel_has_the_rows_of_the_table(
    gpt: RunFolder, follow: Follow, cells: int
) -> None:
    table, folding = table_of(gpt, follow), Folding()
    folding.follow(table.layers)
    lines, room = row_gain_lines(table, folding, cells, 22, 0, lambda text, role: [(text, role)])
    assert all(width(line) <= cells for line in lines)
    shown = "\n".join(map(plain, lines))
    assert "forward ×" in shown
    assert "lm_head" in shown
    assert room >= len(folding.rows)


def test_the_words_are_about_blocks(gpt: RunFolder, follow: Follow) -> None:
    store = follow(gpt)
    store.poll()
    words = " ".join(plain(line) for line in explanation_lines(store, Claims(), 60))
    assert "activations grow over h.0–11: ×1.3" in words
    assert "most in mlp.c_proj" in words
    assert "gradients grow slowly over h.0–11: ×1.2" in words
    assert "too few" not in words


async def test_rows_unfold_and_open_the_layer(gpt: RunFolder, client: FakeClient) -> None:
    async with viewing(gpt, client, size=(120, 36)) as (app, pilot):
        assert "− h.0–11" in text(app)
        assert "12 blocks" in text(app)
        await pilot.press(*["down"] * 9)
        await pilot.press("enter")
        await settle(app, pilot)
        assert "− mlp.c_proj" in text(app)
        assert "h.0        Linear" in text(app)
        await pilot.press("down", "down", "enter")
        await settle(app, pilot)
        assert isinstance(app.screen, LayerScreen)
        assert "transformer.h.1.mlp.c_proj · Linear, 48 units" in text(app)
        await pilot.press("escape", "backspace")
        await settle(app, pilot)
        assert "+ mlp.c_proj" in text(app)


async def test_the_filter_acts_while_it_is_typed(gpt: RunFolder, client: FakeClient) -> None:
    async with viewing(gpt, client, size=(120, 36)) as (app, pilot):
        await pilot.press("slash", *"c_")
        await settle(app, pilot)
        assert "attn.c_attn" in text(app)
        assert "ln_1" not in text(app)
        await pilot.press("enter")
        await settle(app, pilot)
        assert "/c_" in text(app)
        await pilot.press("escape")
        await settle(app, pilot)
        assert "ln_1" in text(app)
        await pilot.press("slash", *"zz", "enter")
        await settle(app, pilot)
        assert "no layer matches zz" in text(app)


async def test_fold_levels(gpt: RunFolder, client: FakeClient) -> None:
    async with viewing(gpt, client, size=(160, 48)) as (app, pilot):
        await pilot.press("z")
        await settle(app, pilot)
        assert "Layers in transformer  to depth 1" in text(app)
        assert "+ h " in text(app)
        await pilot.press("z", "z", "z")
        await settle(app, pilot)
        assert "every layer" in text(app)
        assert "h.0.attn.c_attn" in text(app)
        await pilot.press("pagedown", "pagedown")
        await settle(app, pilot)
        assert "rows " in text(app)


async def test_what_a_program_does_not_have_is_named(tmp_path: Path, client: FakeClient) -> None:
    without = ("activation_grad", "update", "input", "input_grad")
    folder = record(RunFolder(tmp_path / "mlp"), trees.mlp(), snapshots=1, without=without)
    async with viewing(folder, client, size=(160, 48)) as (app, pilot):
        shown = text(app)
        assert "Gradient norm" in shown  # in the place of the accuracy
        assert "Accuracy" not in shown
        assert "not recorded: dL/dA" in shown
        assert "dead" not in shown  # no epoch was counted, so nothing is known of it
        assert "NaN" not in shown
        assert "nan" not in shown
        assert "not logged: accuracy; in the program:" in shown
        scene = Scene(app.store, (), Viewport())
        absent = {kind.name: kind.absent(scene) for kind in KINDS if kind.missing(scene)}
        assert absent == {
            "accuracy": "accuracy: not logged; in the program: run.log(accuracy=…)",
            "learning_rate": "this run has no learning rate",
            "update_ratio": "update ratio: updates ΔW not measured",
        }
        await pilot.press("2", "enter")
        await settle(app, pilot)
        assert "Layer 1 of 3  0 · Linear, 32 units" in text(app)
        assert "i weights" not in text(app)  # which no checkpoint holds


@pytest.mark.parametrize(
    ("modules", "size"),
    [(trees.gpt(3), (40, 12)), (trees.resnet(), (80, 24)), (trees.mlp(), (120, 36)),
     (trees.gpt(3), (200, 60))],
)  # fmt: skip
async def test_every_size_has_room(
    modules: list[trees.Module], size: tuple[int, int], tmp_path: Path, client: FakeClient
) -> None:
    folder = record(RunFolder(tmp_path / "run"), modules, snapshots=1)
    async with viewing(folder, client, size=size) as (app, pilot):
        for key in ("2", "z", "z", "h", "H", "4", "3", "1", "0"):
            await pilot.press(key)
            await settle(app, pilot)
            assert "NaN" not in text(app)


async def test_only_rows_in_sight_are_formatted(
    tmp_path: Path, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(RunFolder(tmp_path / "many"), trees.many(300), snapshots=1)
    drawn: list[int] = []

    def counted(histograms: Sequence[Histogram]) -> Histogram:
        drawn.append(len(histograms))
        return pooled(histograms)

    monkeypatch.setattr("tuilab.viewer.panels.layers.pooled", counted)
    async with viewing(folder, client, size=(80, 24)) as (app, pilot):
        await pilot.press("2")
        await settle(app, pilot)
        panel = app.dashboard.panel(Layers)
        drawn.clear()
        panel.scroll_by(200)
        assert 0 < len(drawn) <= 3 * panel.page
        assert "20.fc0" in text(app) or panel.offset_layers > 150


def test_a_broken_row_is_named_in_its_range(tmp_path: Path, follow: Follow) -> None:
    table = table_of(record(RunFolder(tmp_path / "gpt"), trees.gpt(2), snapshots=1), follow)
    assert layers_of(trees.gpt(2)) == tuple(table.layers)
    at = table.snapshot.tensors.index("activation")
    table.snapshot.statistics[2, at, 7] = 3
    [column] = [c for c in COLUMNS if c.key == "std"]
    assert cells(column, table, [(2, 9)]) == [("⊘ NaN", "error")]


def test_gains_without_inputs_are_explained(tmp_path: Path, follow: Follow) -> None:
    without = ("input", "input_grad")
    folder = record(RunFolder(tmp_path / "gpt"), trees.gpt(2), snapshots=1, without=without)
    table = replace(table_of(folder, follow), brief=True)
    assert subtitle(table, "", 120).startswith("no gain: inputs are not recorded   enter:")
    assert {"forward", "backward"}.isdisjoint(choose(table, 200, 20))
    folding = Folding()
    folding.follow(table.layers)
    lines, _ = row_gain_lines(table, folding, 80, 30, 0, lambda text, role: [(text, role)])
    assert [plain(line) for line in lines] == [
        "– forward: the inputs of layers are not recorded",
        "– backward: dL/dA at inputs is not recorded",
    ]
