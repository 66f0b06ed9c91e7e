"""Curves in dots of braille, against literal text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuilab.charts.canvas import Canvas
from tuilab.charts.text import plain


def text(canvas: Canvas) -> list[str]:
    return [plain(line) for line in canvas.lines()]


def test_a_diagonal_goes_through_the_dots() -> None:
    canvas = Canvas(4, 2)
    canvas.curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "train")
    assert text(canvas) == ["  ⡠⠊", "⡠⠊  "]


def test_a_line_that_leaves_the_canvas_is_cut_where_it_does() -> None:
    whole, cut = Canvas(8, 4), Canvas(8, 4)
    whole.curve(np.array([0.0, 0.5]), np.array([0.0, 1.0]), "train")
    cut.curve(np.array([0.0, 1.0]), np.array([0.0, 2.0]), "train")
    assert text(cut) == text(whole)
    outside = Canvas(8, 4)
    outside.curve(np.array([-1.0, 2.0]), np.array([1.5, 1.5]), "train")
    assert set("".join(text(outside))) == {" "}


def test_a_cell_belongs_to_the_curve_in_front() -> None:
    canvas = Canvas(3, 1)
    for role in ("train.dim", "train"):
        canvas.curve(np.array([0.0, 1.0]), np.array([0.0, 0.0]), role)
    canvas.put(0, np.array([1]), "✕", "error")
    assert canvas.lines() == [[("⣀", "train"), ("✕", "error"), ("⣀", "train")]]


def test_levels_and_uprights_stay_behind() -> None:
    canvas = Canvas(3, 2)
    canvas.curve(np.array([0.0]), np.array([0.0]), "train", "•")
    canvas.dash(1)
    canvas.upright(2, "│", "warning")
    canvas.upright(0, "│", "warning")
    assert text(canvas) == ["│ │", "•╌│"]


@given(
    st.lists(st.floats(allow_nan=True, width=32), min_size=2, max_size=20),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_any_numbers_can_be_drawn(values: list[float], columns: int, rows: int) -> None:
    canvas = Canvas(columns, rows)
    with np.errstate(all="ignore"):  # differences of numbers at the end of the range
        canvas.curve(np.linspace(-0.5, 1.5, len(values)), np.array(values), "train")
    assert {len(line) for line in text(canvas)} == {columns}


@pytest.mark.parametrize("marker", ["•", "braille"])
def test_points_are_not_joined(marker: str) -> None:
    canvas = Canvas(5, 1)
    canvas.curve(np.array([0.0, 1.0]), np.array([0.0, 0.0]), "train", marker, joined=False)
    assert text(canvas)[0][1:4] == "   "


@pytest.mark.parametrize("share", np.linspace(0, 1, 23).tolist())
def test_a_marker_stands_beside_a_line_of_the_same_height(share: float) -> None:
    for rows in (3, 7, 12):
        canvas = Canvas(20, rows)
        canvas.curve(np.array([0.0, 0.4]), np.full(2, share), "line")
        canvas.curve(np.array([0.8]), np.array([share]), "point", "•", joined=False)
        (level,) = [line for line in text(canvas) if line.strip()]
        assert "•" in level
