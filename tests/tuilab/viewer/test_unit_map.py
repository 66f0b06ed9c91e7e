"""The map of a layer's units, without an app."""

from dataclasses import replace

import numpy as np
import pytest

from engine.statistics.frames import LayerInfo, Units
from tests.tuilab.viewer.saved import subject
from tuilab.charts.color_scales import STEPS, level
from tuilab.charts.text import Line, plain, width
from tuilab.viewer.panels.layer.base import LayerViewState, Subject
from tuilab.viewer.panels.layer.unit_map import VIEW, draw, quantities, title, turn


def layer(units: int) -> LayerInfo:
    return LayerInfo(1, "relu", "linear", units, "relu")


def relu(number: int) -> Units:
    """Units of which every third is dead, and the others are ever more active."""
    active = np.linspace(0.1, 1, number)
    active[::3] = 0
    return Units(active.astype(np.float32) * 2, active, None, np.arange(number) % 3 == 0)


def tanh(number: int) -> Units:
    mean = np.linspace(-0.9, 0.9, number).astype(np.float32)
    return Units(mean, None, np.linspace(0, 1, number), None)


def drawn(units: Units, cells: int, height: int, look: LayerViewState | None = None) -> list[Line]:
    number = len(units.mean)
    lines = draw(subject(layer(number), look, units=(10, units)), cells, height)
    assert len(lines) <= height
    assert all(width(line) <= cells for line in lines)
    return lines


def backs(lines: list[Line], ramp: str) -> list[str]:
    """The colours of a map's cells, cell by cell."""
    map_ = lines[2:-2]
    return [role.partition("/")[2] for line in map_ for _, role in line if f"/{ramp}" in role]


def test_a_small_layer_is_numbered_and_says_how_active_each_unit_is() -> None:
    assert [plain(line) for line in drawn(relu(4), 40, 10)] == [
        "4 units   † 2 dead  50%",
        "",
        " 1     †   2         3         4     †  ",
        "          ▒▒▒▒▒▒▒▒▒ ▓▓▓▓▓▓▓▓▓           ",
        "      0%       40%       70%        0%  ",
        "",
        "",
        "0%   ░░▒▒▒▒▓▓████ 100%",
    ]


def test_where_there_are_no_colours_shades_tell_the_activity() -> None:
    units = replace(relu(5), active=np.array([0.0, 0.25, 0.5, 0.75, 1.0]), dead=None)
    line = drawn(units, 10, 5)[2]
    assert plain(line) == "  ░░▒▒▓▓██"
    assert [role for _, role in line] == [
        f"active.{step}/active.{step}" for step in (0, 3, 6, 9, 12)
    ]


def test_five_hundred_units_fit_on_the_smallest_screen_and_dead_ones_are_marked() -> None:
    lines = drawn(relu(500), 76, 18)
    text = "\n".join(plain(line) for line in lines)
    assert text.count("†") == 167 + 1  # in the map, and in the line above
    assert "† 167 dead  33%" in text
    marked = [role for line in lines[2:] for mark, role in line if mark == "†"]
    assert set(marked) == {"error/dead"}


def test_a_unit_is_as_bright_as_it_is_active() -> None:
    units = replace(relu(30), active=np.linspace(0, 1, 30), dead=None)
    lines = drawn(units, 60, 5)  # a row of 30 units
    levels = [level(role.partition("/")[2]) for text, role in lines[2] for _ in text[::2]]
    assert levels == sorted(levels)
    assert set(levels) == set(range(STEPS + 1))
    assert len(levels) == 30


def test_signed_means_have_two_hues_and_saturated_units_a_mark() -> None:
    lines = drawn(tanh(10), 76, 30)
    text = "\n".join(plain(line) for line in lines)
    assert "▬ 1 saturated" in text
    assert "mean activation" in text
    colours = backs(lines, "signed")
    assert {"signed.-12", "signed.12"} <= set(colours)
    assert "−9.0e-01" in text
    saturated = "\n".join(
        plain(line) for line in drawn(tanh(10), 76, 30, LayerViewState(quantity=1))
    )
    assert "share of examples saturated" in saturated


def test_what_is_not_finite_is_marked_and_does_not_stretch_the_scale() -> None:
    mean = np.array([1.0, np.nan, np.inf, -0.5], np.float32)
    lines = drawn(Units(mean, None, None, None), 76, 12)
    text = "\n".join(plain(line) for line in lines)
    assert text.count("⊘") == 2
    assert plain(lines[-1]).startswith("−1.0e+00 ")


def test_units_that_have_no_room_are_told() -> None:
    assert plain(drawn(relu(4096), 36, 10)[-1]) == "the first 216 of 4,096"


def test_quantities_follow_what_the_non_linearity_can() -> None:
    assert [q.scale for q in quantities(relu(3))] == ["active", "signed"]
    assert [q.scale for q in quantities(tanh(3))] == ["signed", "saturated"]
    assert [q.scale for q in quantities(replace(relu(3), active=None))] == ["signed"]


def test_tab_goes_round_the_quantities() -> None:
    made: Subject = subject(layer(3), units=(10, relu(3)))
    assert turn(made, 1).quantity == 1
    assert turn(replace(made, state=LayerViewState(quantity=1)), 1).quantity == 0
    assert turn(made, -1).quantity == 1


@pytest.mark.parametrize(("step", "past", "words"), [(10, True, ""), (8, True, "as of step 8")])
def test_the_title_says_of_which_step_if_it_is_another(step: int, past: bool, words: str) -> None:
    line = plain(title(subject(layer(3), units=(step, relu(3)), past=past)))
    assert line.startswith("share of examples active")
    assert line.endswith(words)
    assert ("as of" in line) == bool(words)


def test_there_is_no_map_where_no_units_were_recorded() -> None:
    assert not VIEW.offered(subject(layer(3)))
    assert VIEW.offered(subject(layer(3), units=(0, relu(3))))
