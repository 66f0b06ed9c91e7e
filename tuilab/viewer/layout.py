"""Where things go at a given terminal size: pure arithmetic."""

from dataclasses import dataclass
from typing import Final, Literal

MIN_WIDTH: Final = 40
MIN_HEIGHT: Final = 10
WIDE_WIDTH: Final = 110
WIDE_HEIGHT: Final = 28
CURVES_AT_LEAST: Final = 9  # rows of the upper panels, with their borders
CURVES_WANTED: Final = 14
BIG_WIDTH: Final = 200  # from this size on, the overview has gains and more than two charts
BIG_HEIGHT: Final = 60
FOUR_CHARTS: Final = 26  # rows for two of them below each other
TWO_COLUMNS: Final = 64  # of charts that stand beside each other
TWO_ROWS: Final = 15  # of charts alone, below each other
THREE_ROWS: Final = 42
FRAME: Final = 4  # of the layer table: two borders, two header lines

Mode = Literal["wide", "narrow", "tiny"]


@dataclass(frozen=True, slots=True)
class Layout:
    """`row_height` is how many lines a layer takes, `layers_height` that of the whole panel."""

    mode: Mode
    row_height: int = 1
    layers_height: int = 0
    gain: bool = False  # there is room for the gains beside all else
    charts: tuple[int, int] = (1, 1)  # columns and rows of the curves


def arrange(
    width: int, height: int, layers: int, notice: int = 0, *, alone: bool = False
) -> Layout:
    """Return the layout for a terminal; `notice` lines are taken, `alone`: one panel fills it."""
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return Layout("tiny")
    wide = width >= WIDE_WIDTH and height >= WIDE_HEIGHT
    if alone or not wide:
        body = height - 4 - notice  # two header lines, tabs, footer
        row = max(1, min(4, (body - FRAME) // max(layers, 1)))
        mode: Mode = "wide" if wide else "narrow"
        return Layout(mode, row, body, charts=_charts(width, body))
    body = height - 3 - notice
    fitting = [r for r in (4, 3, 2) if body - FRAME - layers * r >= CURVES_WANTED]
    row = fitting[0] if fitting else 1
    wanted = FRAME + max(layers, 4) * row
    taken = min(wanted, body - CURVES_AT_LEAST)
    big = width >= BIG_WIDTH and height >= BIG_HEIGHT
    few = (2, 1) if body - taken < FOUR_CHARTS else (2, 2)
    return Layout("wide", row, taken, big, few if big else (2, 1))


def _charts(width: int, height: int) -> tuple[int, int]:
    """Return columns and rows of the charts where they have the screen for themselves."""
    if height < TWO_ROWS:
        return (2 if width >= TWO_COLUMNS else 1), 1
    return (2 if width >= WIDE_WIDTH else 1), (2 if height < THREE_ROWS else 3)
