"""A canvas of character cells: curves in dots of braille, and single characters over them.

Rasterised with NumPy: a canvas of 180×50 with eleven curves takes 6 ms, a tenth of the time of
plotext. A cell belongs to one curve, the one that was drawn last.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.statistics.frames import Floats
from tuilab.charts.rounding import settled
from tuilab.charts.text import Line

BRAILLE: Final = "braille"
_EMPTY: Final = 0x2800
_BITS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BEHIND: Final = (ord(" "), ord("╌"))  # what a cursor may cover

Dots = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


class Canvas:
    """Rows of cells, the first at the top; curves are placed by shares of it, y upwards."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._codes = np.full((rows, columns), ord(" "), np.uint32)
        self._owner = np.zeros((rows, columns), np.intp)
        self._roles = [""]

    def _role(self, role: str) -> int:
        if role not in self._roles:
            self._roles.append(role)
        return self._roles.index(role)

    def curve(
        self, x: Floats, y: Floats, role: str, marker: str = BRAILLE, *, joined: bool = True
    ) -> None:
        """Draw a line through points, or the points alone; one that is not finite is a gap.

        Points with another marker take the cells in which their braille dots would be, so that they
        are at the height of a line of the same value.
        """
        x, y = settled(x), settled(y)
        across, down = (2, 4) if marker == BRAILLE or not joined else (1, 1)
        dots = _dots(x, y, across * self.columns, down * self.rows, joined=joined)
        height, width = np.nonzero(dots[::-1])
        cells = height // down * self.columns + width // across
        if marker == BRAILLE:
            bits = _BITS[height % down, width % across]
            dots_of_cells = np.bincount(cells, bits, self.columns * self.rows).astype(np.uint32)
            codes = _EMPTY + dots_of_cells.reshape(self.rows, self.columns)
        else:
            codes = np.full((self.rows, self.columns), _EMPTY, np.uint32)
            codes.flat[cells] = ord(marker)
        drawn = codes != _EMPTY
        self._codes[drawn] = codes[drawn]
        self._owner[drawn] = self._role(role)

    def row(self, share: float) -> int:
        """Return the row in which a braille curve has a height."""
        return self.rows - 1 - int(np.floor(settled(share) * (4 * self.rows - 1) + 0.5)) // 4

    def dash(self, row: int) -> None:
        """Draw a dashed line behind everything."""
        free = self._codes[row] == ord(" ")
        self._codes[row, free] = ord("╌")
        self._owner[row, free] = self._role("faint")

    def upright(self, column: int, character: str, role: str) -> None:
        """Draw a vertical line behind the curves."""
        free = np.isin(self._codes[:, column], _BEHIND)
        self._codes[free, column] = ord(character)
        self._owner[free, column] = self._role(role)

    def put(self, row: int, columns: Indices, character: str, role: str) -> None:
        """Write a character into some cells of a row, over what is there."""
        self._codes[row, columns] = ord(character)
        self._owner[row, columns] = self._role(role)

    def lines(self) -> list[Line]:
        """Return the rows as text; neighbours of one role are one span."""
        lines: list[Line] = []
        for codes, owner in zip(self._codes, self._owner, strict=True):
            text = codes.tobytes().decode("utf-32-le")
            cuts = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), self.columns]
            lines.append([(text[a:b], self._roles[owner[a]]) for a, b in pairwise(cuts)])
        return lines


def _dots(x: Floats, y: Floats, width: int, height: int, *, joined: bool) -> Dots:
    """Return which dots a curve covers, (height, width), the lowest row first."""
    dots = np.zeros((height, width), np.bool_)
    shown = np.isfinite(y) & (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    dots[_dot(y[shown], height), _dot(x[shown], width)] = True
    pairs = np.isfinite(y[:-1]) & np.isfinite(y[1:])
    if joined and pairs.any():
        ends = [end[pairs] for end in (x[:-1], y[:-1], x[1:], y[1:])]
        rows, columns = _segments(*_clipped(*ends), width, height)
        dots[rows, columns] = True
    return dots


def _dot(shares: Floats, size: int) -> Indices:
    return np.floor(shares * (size - 1) + 0.5).astype(np.intp)


def _clipped(
    x0: Floats, y0: Floats, x1: Floats, y1: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the parts of segments inside the unit square (Liang and Barsky, 1984)."""
    begin, end = np.zeros(len(x0)), np.ones(len(x0))
    for start, change in ((x0, x1 - x0), (y0, y1 - y0)):
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = -start / change, (1 - start) / change
        level = change == 0
        inside = (start >= 0) & (start <= 1)
        low[level], high[level] = np.where(inside, -np.inf, np.inf)[level], np.inf
        begin = np.maximum(begin, np.minimum(low, high))
        end = np.minimum(end, np.maximum(low, high))
    visible = begin <= end
    x0, y0, dx, dy = x0[visible], y0[visible], (x1 - x0)[visible], (y1 - y0)[visible]
    begin, end = begin[visible], end[visible]
    ends = x0 + begin * dx, y0 + begin * dy, x0 + end * dx, y0 + end * dy
    a, b, c, d = (np.clip(values, 0.0, 1.0) for values in ends)
    return a, b, c, d


def _segments(
    x0: Floats, y0: Floats, x1: Floats, y1: Floats, width: int, height: int
) -> tuple[Indices, Indices]:
    """Return rows and columns of the dots of all segments."""
    c0, c1, r0, r1 = _dot(x0, width), _dot(x1, width), _dot(y0, height), _dot(y1, height)
    number = np.maximum(np.maximum(np.abs(c1 - c0), np.abs(r1 - r0)), 1)
    segment = np.repeat(np.arange(len(number)), number + 1)
    first = np.cumsum(number + 1) - number - 1
    share = (np.arange(len(segment)) - first[segment]) / number[segment]
    rows = r0[segment] + share * (r1 - r0)[segment]
    columns = c0[segment] + share * (c1 - c0)[segment]
    return np.floor(rows + 1e-9).astype(np.intp), np.floor(columns + 0.5).astype(np.intp)
