"""Where things go at a given terminal size: pure arithmetic."""

from dataclasses import dataclass
from typing import Final, Literal

MIN_WIDTH: Final = 40
MIN_HEIGHT: Final = 10
WIDE_WIDTH: Final = 110
WIDE_HEIGHT: Final = 28
CURVES_AT_LEAST: Final = 9  # rows of the upper panels, with their borders
CURVES_WANTED: Final = 14
GAIN_WIDTH: Final = 200  # of a terminal that has room for the gains beside everything else
GAIN_HEIGHT: Final = 60
FRAME: Final = 4  # of the layer table: two borders, two header lines

Mode = Literal["wide", "narrow", "tiny"]


@dataclass(frozen=True, slots=True)
class Layout:
    """`row_height` is how many lines a layer takes, `layers_height` that of the whole panel."""

    mode: Mode
    row_height: int = 1
    layers_height: int = 0
    stacked: bool = False  # loss above accuracy, where they have a tab of their own
    gain: bool = False  # there is room for the gains beside all else


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
        return Layout("wide" if wide else "narrow", row, body, stacked=body >= 15)
    body = height - 3 - notice
    fitting = [r for r in (4, 3, 2) if body - FRAME - layers * r >= CURVES_WANTED]
    row = fitting[0] if fitting else 1
    wanted = FRAME + max(layers, 4) * row
    roomy = width >= GAIN_WIDTH and height >= GAIN_HEIGHT
    return Layout("wide", row, min(wanted, body - CURVES_AT_LEAST), gain=roomy)
