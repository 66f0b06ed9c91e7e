"""Histograms as strips of blocks and shades, and their common axes. Knows no Textual."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.statistics.frames import BINS, FIELDS, Floats, Snapshot
from tuilab.charts import formats
from tuilab.charts.rounding import settled
from tuilab.charts.symbols import NOT_FINITE

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
OCTAVES: Final = 8
"""Length of a logarithmic axis; the equal bins of a histogram resolve nothing smaller."""
STRAY: Final = 0.01  # share of a layer's values that may lie outside the common axis
_TAIL: Final = np.linspace(0.125, 1.0, 8)  # places between the end of the bins and the extreme
_FALL: Final = 1 - (1 - _TAIL) ** 2  # share of the tail that lies before each


@dataclass(frozen=True, slots=True)
class Axis:
    """A range that histograms share; with `log`, of magnitudes on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    @property
    def middle(self) -> float:
        """The value in the middle."""
        return (
            math.sqrt(self.low) * math.sqrt(self.high) if self.log else (self.low + self.high) / 2
        )

    def edges(self, columns: int) -> Floats:
        """Return the edges of `columns` equal parts, (columns + 1,)."""
        space = np.geomspace if self.log else np.linspace
        return np.asarray(space(self.low, self.high, columns + 1))

    def column(self, value: float, columns: int) -> int:
        """Return the column of a value; the nearest one for a value outside."""
        low, high = self.low, self.high
        if self.log:
            if value == 0:
                return 0
            low, high, value = (math.log(abs(place)) for place in (low, high, value))
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return min(math.floor(settled(share * columns)), columns - 1)

    def of_magnitudes(self) -> "Axis":
        """Return the logarithmic axis of |x| that ends where this one does."""
        reach = max(abs(self.low), abs(self.high))
        return Axis(reach * 2.0**-OCTAVES, reach, log=True)

    def __str__(self) -> str:
        if self.low == -self.high:
            return f"±{formats.short(self.high)}"
        return f"{formats.short(self.low)}…{formats.short(self.high)}"


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of a tensor: the recorded bins, and statistics that they leave out."""

    bins: Floats  # (1 + BINS + 1,): below, bins …, above
    low: float
    high: float
    mean: float = math.nan
    std: float = math.nan
    min: float = math.nan
    max: float = math.nan
    zeros: float = 0.0  # number of values in the bins that are exactly zero
    nonfinite: float = 0.0

    @property
    def total(self) -> float:
        """Number of finite values."""
        return float(self.bins.sum())

    def cumulative(self, *, zeros: bool = True) -> tuple[Floats, Floats]:
        """Return edges, in ascending order, and the number of values below each.

        Of values outside the bins, only the number and the extreme are known: their density is
        assumed to fall linearly towards it. `zeros` False leaves out exact zeros.
        """
        bins = self.bins.copy()
        if not zeros and self.zeros and self.low <= 0 < self.high:
            at = 1 + int(-self.low / (self.high - self.low) * BINS)
            bins[at] = max(bins[at] - self.zeros, 0.0)
        inner = np.linspace(self.low, self.high, BINS + 1)
        counts = np.cumsum(bins[:-1])
        below = min(self.min, self.low) if math.isfinite(self.min) else self.low
        above = max(self.max, self.high) if math.isfinite(self.max) else self.high
        left = self.low + (below - self.low) * _TAIL[::-1]
        right = self.high + (above - self.high) * _TAIL
        return (
            np.concatenate([left, inner, right]),
            settled(
                np.concatenate(
                    [bins[0] * (1 - _TAIL[::-1]) ** 2, counts, counts[-1] + bins[-1] * _FALL]
                )
            ),
        )

    def magnitudes(self) -> tuple[Floats, Floats]:
        """Return magnitudes, from 0 on, and the number of non-zero values below each.

        Values that all lie within a bin or two (of tanh, whose bins are fixed) are assumed to be
        Gaussian, with the mean and std that are known.
        """
        if 0 < self.std < (self.high - self.low) / BINS and math.isfinite(self.mean):
            normal = NormalDist(self.mean, self.std)
            sizes = np.linspace(0.0, abs(self.mean) + 4 * self.std, 257)
            shares = [normal.cdf(size) - normal.cdf(-size) for size in sizes.tolist()]
            return sizes, max(self.total - self.zeros, 0.0) * np.array(shares)
        edges, cumulative = self.cumulative(zeros=False)
        sizes = np.unique(np.append(np.abs(edges), 0.0))
        inside = np.interp(sizes, edges, cumulative) - np.interp(-sizes, edges, cumulative)
        return sizes, inside

    def quantiles(self, shares: Sequence[float], *, magnitude: bool = False) -> Floats:
        """Return the quantiles of the non-zero values, or of their magnitudes."""
        edges, cumulative = self.magnitudes() if magnitude else self.cumulative(zeros=False)
        return np.asarray(np.interp(settled(np.array(shares) * cumulative[-1]), cumulative, edges))


def histogram(snapshot: Snapshot, layer: int, tensor: str) -> Histogram:
    """Return one tensor's histogram from a snapshot, empty if absent; `layer` counts from 0."""
    if tensor not in snapshot.tensors:
        return Histogram(np.zeros(BINS + 2), *[math.nan] * 6)
    at = layer, snapshot.tensors.index(tensor)
    fields = dict(zip(FIELDS, snapshot.statistics[at].tolist(), strict=True))
    low, high = snapshot.ranges[at].tolist()
    bins = snapshot.histograms[at].astype(np.float64)
    # The bins count a sample of the values, the fields all of them.
    zeros = fields["zero_fraction"] * float(bins.sum())
    return Histogram(
        bins=bins,
        low=low,
        high=high,
        mean=fields["mean"],
        std=fields["std"],
        min=fields["min"],
        max=fields["max"],
        zeros=zeros if zeros > 0 else 0.0,
        nonfinite=fields["nonfinite"] if fields["nonfinite"] > 0 else 0.0,
    )


def common_axis(histograms: list[Histogram]) -> Axis:
    """Return the narrowest axis outside of which lie at most 1 % of any layer's values.

    Unbounded ranges are [−2ᵏ, 2ᵏ], or [0, 2ᵏ] if all ranges start at 0. So they nest: every coarser
    bin is a whole number of finer ones.
    """
    usable = [h for h in histograms if h.total and math.isfinite(h.low) and h.high > h.low]
    if not usable:
        return Axis(-1.0, 1.0)
    curves = [h.cumulative() for h in usable]
    reach = max(max(abs(float(edges[0])), abs(float(edges[-1]))) for edges, _ in curves)
    high = 2.0 ** math.ceil(settled(math.log2(reach)))
    low = 0.0 if all(h.low >= 0 for h in usable) else -high
    if high == 1 and all((h.low, h.high) == (low, high) for h in usable):
        return Axis(low, high)  # of tanh or sigmoid: the distance from saturation is to be seen
    while high > 1e-300 and all(_inside(c, low / 2, high / 2) >= 1 - STRAY for c in curves):
        low, high = low / 2, high / 2
    return Axis(low, high)


def _inside(curve: tuple[Floats, Floats], low: float, high: float) -> float:
    below, upto = np.interp((low, high), *curve)
    return settled(float((upto - below) / curve[1][-1]))


def rebin(h: Histogram, axis: Axis, columns: int) -> Floats:
    """Return the number of non-zero values in each of `columns` equal parts of `axis`.

    Exact zeros (half of the outputs of a ReLU) are left out: their spike would flatten all else.
    Values outside the axis count for its end columns, except for the few in the tails that
    `common_axis` leaves out on purpose: they would look like a mode.
    """
    edges, cumulative = h.magnitudes() if axis.log else h.cumulative(zeros=False)
    at_columns = np.interp(axis.edges(columns), edges, cumulative)
    counts = settled(np.diff(at_columns))
    below = 0.0 if axis.log else at_columns[0]  # magnitudes have no smallest value
    above = cumulative[-1] - at_columns[-1]
    if settled(float((below + above) / h.total)) > STRAY:
        counts[0] += below
        counts[-1] += above
    return np.asarray(counts)


def smaller(h: Histogram, axis: Axis) -> float:
    """Return the share of the non-zero values below a logarithmic axis."""
    edges, cumulative = h.cumulative(zeros=False)
    upto, downto = np.interp((axis.low, -axis.low), edges, cumulative)
    return float((upto - downto) / cumulative[-1]) if cumulative[-1] > 0 else 0.0


def square_root(counts: Floats) -> Floats:
    """Return heights at which tails are visible in eight levels."""
    return np.sqrt(counts)


def logarithm(counts: Floats) -> Floats:
    """Return heights at which single values are visible beside thousands."""
    return np.log1p(counts)


def is_empty(h: Histogram) -> bool:
    """Return whether there is nothing finite to draw."""
    return not h.total or not h.high > h.low


def is_spike(h: Histogram) -> bool:
    """Return whether all values are equal."""
    return h.std == 0 and math.isfinite(h.mean)


def nothing(h: Histogram, columns: int, rows: int) -> list[str]:
    """Return an empty strip, or a note that nothing is finite, as far as it fits."""
    glyph = NOT_FINITE.glyph
    words = (f"{glyph} nothing finite", f"{glyph} NaN", glyph) if h.nonfinite else ("",)
    fitting = next((text for text in words if len(text) <= columns), "")
    return [" " * columns] * (rows - 1) + [fitting.ljust(columns)]


def strip(
    h: Histogram,
    axis: Axis,
    columns: int,
    rows: int = 1,
    height: Callable[[Floats], Floats] = square_root,
) -> list[str]:
    """Draw a histogram as `rows` lines of `columns` eighth blocks.

    The tallest column leaves an eighth free, so that adjacent rows stay apart. A tensor without
    spread is a spike at its value; one without finite values has a note.
    """
    top = 8 * rows - 1
    if is_empty(h):
        return nothing(h, columns, rows)
    if is_spike(h):
        levels = np.zeros(columns, np.int64)
        levels[axis.column(h.mean, columns)] = top
    else:
        heights = height(rebin(h, axis, columns))
        peak = float(heights.max())
        levels = (
            np.rint(settled(heights / peak * top)).astype(np.int64)
            if peak > 0
            else np.zeros(columns, np.int64)
        )
    lines = _stack(levels, rows)
    if h.nonfinite:
        lines[-1] = lines[-1][:-1] + NOT_FINITE.glyph
    return lines


def _stack(levels: npt.NDArray[np.int64], rows: int) -> list[str]:
    floors = range(8 * (rows - 1), -1, -8)
    return ["".join(BLOCKS[min(max(v - floor, 0), 8)] for v in levels.tolist()) for floor in floors]


SHADES: Final = " ·░▒▓█"


def heat(histograms: list[Histogram], axis: Axis, rows: int) -> list[str]:
    """Draw histograms as columns of shades, the top row being the upper end of `axis`.

    Each column is relative to its own peak, by square roots. A histogram without spread is a single
    cell; one without finite values is a column of the symbol for that.
    """
    columns = [_shaded(h, axis, rows) for h in histograms]
    return ["".join(column[row] for column in columns) for row in range(rows)]


def _shaded(h: Histogram, axis: Axis, rows: int) -> str:
    if is_empty(h):
        return (NOT_FINITE.glyph if h.nonfinite else " ") * rows
    if is_spike(h):
        at = rows - 1 - axis.column(h.mean, rows)
        return " " * at + SHADES[-1] + " " * (rows - 1 - at)
    return "".join(reversed(shades(rebin(h, axis, rows))))


def shades(counts: Floats) -> list[str]:
    """Return a shade per count, relative to the largest, by square roots."""
    heights = np.sqrt(counts)
    peak = float(heights.max())
    if not peak > 0:
        return [SHADES[0]] * len(counts)
    levels = np.ceil(settled(heights / peak * (len(SHADES) - 1)))
    return [SHADES[level] for level in levels.astype(np.int64).tolist()]
