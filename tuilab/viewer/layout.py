"""How the dashboard divides a terminal of a given size: arithmetic, no Textual."""

from dataclasses import dataclass
from typing import Final, Literal

MIN_WIDTH: Final = 40
MIN_HEIGHT: Final = 10
WIDE_WIDTH: Final = 110
WIDE_HEIGHT: Final = 28
UPPER_LEAST: Final = 9  # lines of the upper panels, with their borders
UPPER_GOOD: Final = 14  # lines that they should have before layers take more than one each
BIG_WIDTH: Final = 200  # from this size on, the overview has more than two charts
BIG_HEIGHT: Final = 60
FOUR_CHARTS: Final = 26  # lines from which the overview has two rows of charts
TWO_COLUMNS: Final = 64  # cells from which charts alone have two columns
TWO_ROWS: Final = 15  # lines from which charts alone have two rows
THREE_ROWS: Final = 42
FRAME: Final = 4  # lines of the layer table beside its rows: two borders, two header lines

Mode = Literal["wide", "narrow", "tiny"]


@dataclass(frozen=True, slots=True)
class Layout:
    """`row_height` is the number of lines per layer, `lower_height` that of the lower panels."""

    mode: Mode
    row_height: int = 1
    lower_height: int = 0
    charts: tuple[int, int] = (1, 1)  # columns and rows of the curves


def arrange(
    width: int, height: int, layers: int, notice: int = 0, *, alone: bool = False
) -> Layout:
    """Return the layout of a terminal in which `notice` lines are taken.

    With `alone`, one panel fills a terminal that has room for all.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return Layout("tiny")
    wide = width >= WIDE_WIDTH and height >= WIDE_HEIGHT
    if alone or not wide:
        body = height - 4 - notice  # two header lines, tabs, footer
        row = max(1, min(4, (body - FRAME) // max(layers, 1)))
        mode: Mode = "wide" if wide else "narrow"
        return Layout(mode, row, body, charts=_charts(width, body))
    body = height - 3 - notice
    fitting = [r for r in (4, 3, 2) if body - FRAME - layers * r >= UPPER_GOOD]
    row = fitting[0] if fitting else 1
    taken = min(FRAME + max(layers, 4) * row, body - UPPER_LEAST)
    big = width >= BIG_WIDTH and height >= BIG_HEIGHT
    few = (2, 1) if body - taken < FOUR_CHARTS else (2, 2)
    return Layout("wide", row, taken, few if big else (2, 1))


def _charts(width: int, height: int) -> tuple[int, int]:
    """Return columns and rows of charts that have the screen to themselves."""
    if height < TWO_ROWS:
        return (2 if width >= TWO_COLUMNS else 1), 1
    return (2 if width >= WIDE_WIDTH else 1), (2 if height < THREE_ROWS else 3)
