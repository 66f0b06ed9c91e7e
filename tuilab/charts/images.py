"""Arrays of pixels as half-block pictures, and many of them in rows: pure, values to lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tuilab.charts.color_scales import STEPS, level, solid
from tuilab.charts.rounding import settled
from tuilab.charts.text import Line, Span, pad

Pixels = npt.NDArray[Any]  # (height, width, channels); channels 1 or 3, NaN where there is none

LARGEST: Final = 8  # times that a small picture is magnified at most
SMALLEST: Final = 4  # pixels that are averaged into one, each way, at most
ENOUGH: Final = 8  # pictures at once, before they are made smaller for more
LEVELS: Final = 16  # of each colour: a terminal has to be told of every change


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How pictures stand: `times` the size, or 1/`parts` of it; so many across and down."""

    times: int
    parts: int
    across: int
    down: int

    @property
    def most(self) -> int:
        """How many there is room for."""
        return self.across * self.down


def arrange(
    size: tuple[int, int], number: int, cells: int, rows: int, least: int = 0
) -> Arrangement:
    """Choose how pictures stand: magnified if all fit so, made smaller if hardly any fit else.

    `size` (height, width) is in pixels, two of which make a cell high, and one line stands below
    each picture. `least` cells are needed for what is written there.
    """
    magnified = [_at(size, times, 1, cells, rows, least) for times in range(LARGEST, 1, -1)]
    others = [_at(size, 1, parts, cells, rows, least) for parts in range(1, SMALLEST + 1)]
    for each in magnified:
        if each.most >= number:
            return each
    for each in others:
        if each.most >= min(number, ENOUGH):
            return each
    return max(others, key=lambda each: each.most)


def _at(
    size: tuple[int, int], times: int, parts: int, cells: int, rows: int, least: int
) -> Arrangement:
    height, width = (-(-length // parts) * times for length in size)
    across = (cells + 1) // (max(width, least) + 1)
    return Arrangement(times, parts, across, rows // (-(-height // 2) + 1))


def scaled(pixels: Pixels, arrangement: Arrangement) -> Pixels:
    """Return pixels magnified, or averaged, as an arrangement has it."""
    parts, times = arrangement.parts, arrangement.times
    if parts > 1:
        height, width, channels = pixels.shape
        short = [(0, -length % parts) for length in (height, width)]
        full = np.pad(pixels, [*short, (0, 0)], mode="edge")
        blocks = full.reshape(full.shape[0] // parts, parts, -1, parts, channels)
        with np.errstate(invalid="ignore", over="ignore"):  # of what is not finite
            pixels = blocks.mean(axis=(1, 3))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def picture(pixels: Pixels) -> list[Line]:
    """Draw a picture, two pixels a cell, normalised by its largest magnitude.

    One channel: blue below zero, orange above. Three: red, green and blue, mid-grey being zero.
    """
    roles = _roles(pixels)
    if len(roles) % 2:
        roles.append(["ground"] * len(roles[0]))
    lines: list[Line] = []
    for upper, lower in zip(roles[::2], roles[1::2], strict=True):
        pairs = groupby(zip(upper, lower, strict=True))
        lines.append([_cells(top, bottom, len(list(same))) for (top, bottom), same in pairs])
    return lines


def _cells(top: str, bottom: str, number: int) -> Span:
    """Return cells of two colours; without colours, the stronger half of them is left."""
    if top == bottom:
        return solid(top, number)
    if abs(level(top)) >= abs(level(bottom)):
        return "▀" * number, f"{top}/{bottom}"
    return "▄" * number, f"{bottom}/{top}"


def _roles(pixels: Pixels) -> list[list[str]]:
    """Return the colour of each pixel."""
    finite = np.isfinite(pixels)
    reach = float(np.abs(pixels[finite]).max(initial=0.0)) or 1.0
    shares = settled(np.where(finite, pixels, 0.0) / reach)
    empty = ~finite.all(axis=2)
    if pixels.shape[2] == 1:
        levels = np.rint(shares[:, :, 0] * STEPS).astype(int)
        names = [[f"signed.{level}" for level in row] for row in levels.tolist()]
    else:
        bright = np.rint((shares + 1) / 2 * (LEVELS - 1)).astype(int) * 255 // (LEVELS - 1)
        names = [["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in row] for row in bright.tolist()]
    for y, x in np.argwhere(empty).tolist():
        names[y][x] = "ground"
    return names


def rows_of(
    pictures: Sequence[Pixels], captions: Sequence[Line], arrangement: Arrangement, least: int
) -> list[Line]:
    """Draw pictures of one size from left to right and top to bottom, a caption below each."""
    lines: list[Line] = []
    drawn = [picture(scaled(each, arrangement)) for each in pictures]
    for start in range(0, len(drawn), arrangement.across):
        beside = slice(start, start + arrangement.across)
        width = max(least, scaled(pictures[start], arrangement).shape[1])
        for parts in zip(*drawn[beside], strict=True):
            lines.append(_beside(parts, width))
        lines.append(_beside(captions[beside], width))
    return lines


def _beside(parts: Sequence[Line], width: int) -> Line:
    line: Line = []
    for part in parts:
        line += [*pad(part, width), (" ", "")]
    return line[:-1]
