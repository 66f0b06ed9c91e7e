"""Arrays of pixels as images of half blocks, arranged in rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tuilab.charts.color_scales import STEPS, level, solid
from tuilab.charts.rounding import settled
from tuilab.charts.text import Line, Span, pad

Pixels = npt.NDArray[Any]  # (height, width, channels), 1 or 3 channels; NaN is empty

LARGEST: Final = 8  # largest magnification of a small image
SMALLEST: Final = 4  # pixels averaged into one, each way, at most
ENOUGH: Final = 8  # images at once; they are not made smaller for more
LEVELS: Final = 16  # of each colour: every change costs bytes to the terminal


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How images are arranged: `times` the size, or 1/`parts` of it; columns and rows."""

    times: int
    parts: int
    across: int
    down: int

    @property
    def most(self) -> int:
        """The number of images that fit."""
        return self.across * self.down


def arrange(
    size: tuple[int, int], number: int, cells: int, rows: int, least: int = 0
) -> Arrangement:
    """Return an arrangement: magnified if all images fit, smaller if only a few would fit.

    `size` (height, width) is in pixels, two of which make the height of a cell. Below each image is
    a caption of `least` cells.
    """
    magnified = [_at(size, times, 1, cells, rows, least) for times in range(LARGEST, 1, -1)]
    others = [_at(size, 1, parts, cells, rows, least) for parts in range(1, SMALLEST + 1)]
    for candidate in magnified:
        if candidate.most >= number:
            return candidate
    for candidate in others:
        if candidate.most >= min(number, ENOUGH):
            return candidate
    return max(others, key=lambda candidate: candidate.most)


def _at(
    size: tuple[int, int], times: int, parts: int, cells: int, rows: int, least: int
) -> Arrangement:
    height, width = (-(-length // parts) * times for length in size)
    across = (cells + 1) // (max(width, least) + 1)
    return Arrangement(times, parts, across, rows // (-(-height // 2) + 1))


def scaled(pixels: Pixels, arrangement: Arrangement) -> Pixels:
    """Return pixels magnified or averaged for an arrangement."""
    parts, times = arrangement.parts, arrangement.times
    if parts > 1:
        height, width, channels = pixels.shape
        short = [(0, -length % parts) for length in (height, width)]
        full = np.pad(pixels, [*short, (0, 0)], mode="edge")
        blocks = full.reshape(full.shape[0] // parts, parts, -1, parts, channels)
        with np.errstate(invalid="ignore", over="ignore"):  # pixels that are not finite
            pixels = blocks.mean(axis=(1, 3))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def picture(pixels: Pixels) -> list[Line]:
    """Return an image, two pixels per cell, scaled by its largest magnitude.

    One channel: blue below zero, orange above. Three: red, green and blue; mid-grey is zero.
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
    """Return cells of two colours; without colours, the stronger half remains."""
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
    """Return images of one size in rows from the top left, with captions below."""
    lines: list[Line] = []
    drawn = [picture(scaled(pixels, arrangement)) for pixels in pictures]
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
