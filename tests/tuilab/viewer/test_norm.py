"""γ, β and running averages as bars, without an app."""

from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import LayerInfo
from tests.tuilab.viewer.saved import subject
from tuilab.charts.bars import about
from tuilab.charts.text import plain, width
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.panels.layer.base import LayerViewState, Subject
from tuilab.viewer.panels.layer.norm import VIEW, blocks, draw, title

INFO = LayerInfo(2, "relu", "linear", 40, "relu", normalization="batch_norm")


def made(prefix: str = "") -> Subject:
    values = np.random.default_rng(0).normal(1, 0.1, 40)
    arrays = {"gamma": values, "beta": values - 1, "running_mean": values, "running_var": values}
    named = {prefix + name: array for name, array in arrays.items()}
    return subject(INFO, parameters=Parameters(7, {"weight": np.ones((3, 40)), **named}))


def text(bars: list[list[tuple[str, str]]]) -> list[str]:
    return [plain(line) for line in bars]


def test_bars_stand_on_the_level_and_hang_from_it() -> None:
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert text(about(values, 0.0, "update", 8, 4)) == [
        " 2┤    █",
        "  │   ██",
        " 0┤██╌╌╌",
        "-2┤█    ",
    ]


def test_bars_above_the_level_begin_at_the_bottom() -> None:
    assert text(about(np.array([0.0, 2.0, 4.0]), 0.0, "update", 5, 2)) == ["4┤  █", "0┤╌██"]


def test_more_values_than_columns_keep_the_smallest_and_the_largest() -> None:
    lines = text(about(np.linspace(0, 1, 1000), 0.0, "update", 12, 2))
    assert lines[0].startswith("1┤")
    assert lines[0].endswith("█")
    assert all(len(line) == 12 for line in lines)


def test_values_that_are_all_at_the_level_leave_it_alone() -> None:
    lines = text(about(np.ones(8), 1.0, "update", 12, 3))
    assert lines[1] == "  1┤╌╌╌╌╌╌╌╌"
    assert "█" not in "".join(lines)


def test_values_that_are_not_finite_leave_a_gap() -> None:
    lines = text(about(np.array([np.nan, 1.0, np.inf]), 0.0, "update", 5, 2))
    assert lines == ["1┤ █ ", "0┤╌█╌"]


@pytest.mark.parametrize("size", [(196, 55), (116, 30), (76, 18), (36, 8), (10, 3), (3, 1)])
def test_it_fits_every_screen(size: tuple[int, int]) -> None:
    cells, height = size
    lines = draw(made(), cells, height)
    assert len(lines) <= height
    assert all(width(line) <= cells for line in lines)


def test_all_four_arrays_are_there_with_their_numbers() -> None:
    words = "\n".join(plain(line) for line in draw(made(), 116, 30))
    for name in ("γ  scale", "β  shift", "mean  of batches", "variance  of batches"):
        assert name in words
    parameters = made().parameters()
    assert parameters is not None
    assert f"std {parameters.arrays['gamma'].std():.3g}" in words


def test_a_residual_block_has_the_normalisations_that_are_in_it() -> None:
    block = replace(INFO, kind="residual", normalization="")
    inside = replace(made("1."), layer=block)
    assert VIEW.offered(inside)
    assert "γ  scale" in plain(draw(inside, 116, 30)[0])
    assert not VIEW.offered(replace(inside, parameters=lambda: None))
    both = {"1.gamma": np.ones(3), "3.gamma": np.ones(3), "weight": np.ones((2, 3))}
    assert blocks(both) == ["1.", "3."]
    two = replace(inside, parameters=lambda: Parameters(7, both), state=LayerViewState(2, page=1))
    assert "normalisation 2 of 2" in plain(title(two))


def test_only_layers_that_normalise_have_it() -> None:
    assert VIEW.offered(made())
    assert not VIEW.offered(replace(made(), layer=replace(INFO, normalization="")))


def test_without_a_checkpoint_one_waits() -> None:
    waiting = replace(made(), parameters=lambda: None)
    assert "waiting for the first checkpoint" in plain(draw(waiting, 76, 18)[0])
    assert plain(title(made())).startswith("as of step 7")
