"""Distributions to strips of blocks: pure, without Textual, tested against literal text."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.frames import BINS, FIELDS, TENSORS, Floats, Snapshot
from tuilab.viewer import formats

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
STRAY: Final = 0.01  # share of a layer's values that may lie outside the common axis
_TAIL: Final = np.linspace(0.125, 1.0, 8)  # places between the end of the bins and the extreme
_FALL: Final = 1 - (1 - _TAIL) ** 2  # share of the tail that lies before each


@dataclass(frozen=True, slots=True)
class Axis:
    """A range that several histograms share."""

    low: float
    high: float

    def __str__(self) -> str:
        if self.low == -self.high:
            return f"±{formats.short(self.high)}"
        return f"{formats.short(self.low)}…{formats.short(self.high)}"


@dataclass(frozen=True, slots=True)
class Histogram:
    """One tensor's distribution: the recorded bins and what they leave out."""

    bins: Floats  # (1 + BINS + 1,): below, bins …, above
    low: float
    high: float
    mean: float = math.nan
    std: float = math.nan
    min: float = math.nan
    max: float = math.nan
    zeros: float = 0.0  # how many are exactly zero
    nonfinite: float = 0.0

    @property
    def total(self) -> float:
        """Number of finite values."""
        return float(self.bins.sum())

    def cumulative(self, *, zeros: bool = True) -> tuple[Floats, Floats]:
        """Return edges and how many values lie below each; from the smallest to the largest.

        Of values outside the bins only the number and the extreme are known: their density is taken
        to fall linearly towards it. `zeros` False leaves out those that are exactly zero.
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
            np.concatenate(
                [bins[0] * (1 - _TAIL[::-1]) ** 2, counts, counts[-1] + bins[-1] * _FALL]
            ),
        )


def histogram(snapshot: Snapshot, layer: int, tensor: str) -> Histogram:
    """Take one tensor's histogram out of a snapshot; `layer` counts from 0."""
    at = layer, TENSORS.index(tensor)
    fields = dict(zip(FIELDS, snapshot.statistics[at].tolist(), strict=True))
    bins = snapshot.histograms[at].astype(np.float64)
    zeros = float(bins.sum()) * fields["zero_fraction"]  # the bins may be those of a sample
    low, high = snapshot.ranges[at].tolist()
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
    """Return the narrowest axis on which at most 1 % of any layer's values fall outside.

    Unbounded ranges are [−2ᵏ, 2ᵏ] or [0, 2ᵏ], so they nest: halving or doubling one of them keeps
    every coarser bin a whole number of finer ones. One side is enough where all ranges start at 0.
    """
    usable = [h for h in histograms if h.total and math.isfinite(h.low) and h.high > h.low]
    if not usable:
        return Axis(-1.0, 1.0)
    curves = [h.cumulative() for h in usable]
    reach = max(max(abs(float(edges[0])), abs(float(edges[-1]))) for edges, _ in curves)
    high = 2.0 ** math.ceil(math.log2(reach))
    low = 0.0 if all(h.low >= 0 for h in usable) else -high
    if high == 1 and all((h.low, h.high) == (low, high) for h in usable):
        return Axis(low, high)  # of tanh or sigmoid: how far from saturation is part of the picture
    while high > 1e-300 and all(_inside(c, low / 2, high / 2) >= 1 - STRAY for c in curves):
        low, high = low / 2, high / 2
    return Axis(low, high)


def _inside(curve: tuple[Floats, Floats], low: float, high: float) -> float:
    below, upto = np.interp((low, high), *curve)
    return float((upto - below) / curve[1][-1])


def rebin(h: Histogram, axis: Axis, columns: int) -> Floats:
    """Return how many of the non-zero values fall into each of `columns` equal parts of `axis`.

    Values that are exactly zero (half of what a ReLU puts out) are left out, for their spike would
    press all else flat. What lies outside the axis is counted in its end columns, but for the few
    in the tails that `common_axis` leaves out on purpose: they would look like a mode.
    """
    edges, cumulative = h.cumulative(zeros=False)
    at_columns = np.interp(np.linspace(axis.low, axis.high, columns + 1), edges, cumulative)
    counts = np.diff(at_columns)
    below, above = at_columns[0], cumulative[-1] - at_columns[-1]
    if below + above > STRAY * h.total:
        counts[0] += below
        counts[-1] += above
    return np.asarray(counts)


def square_root(counts: Floats) -> Floats:
    """Return heights that keep tails visible in eight levels."""
    return np.sqrt(counts)


def logarithm(counts: Floats) -> Floats:
    """Return heights that show single values beside thousands."""
    return np.log1p(counts)


def strip(
    h: Histogram,
    axis: Axis,
    columns: int,
    rows: int = 1,
    height: Callable[[Floats], Floats] = square_root,
) -> list[str]:
    """Draw a histogram as `rows` lines of `columns` eighth blocks.

    The tallest column leaves an eighth free, so that rows below each other stay apart. A tensor
    without spread is one spike at its value; one with nothing finite says so.
    """
    top = 8 * rows - 1
    if not h.total or not h.high > h.low:
        words = ("✕ nothing finite", "✕ NaN", "✕") if h.nonfinite else ("",)
        fitting = next((text for text in words if len(text) <= columns), "")
        return [" " * columns] * (rows - 1) + [fitting.ljust(columns)]
    if h.std == 0 and math.isfinite(h.mean):
        levels = np.zeros(columns, np.int64)
        share = min(max((h.mean - axis.low) / (axis.high - axis.low), 0.0), 1.0)
        levels[min(int(share * columns), columns - 1)] = top
    else:
        heights = height(rebin(h, axis, columns))
        peak = float(heights.max())
        levels = (
            np.rint(heights / peak * top).astype(np.int64)
            if peak > 0
            else np.zeros(columns, np.int64)
        )
    lines = _stack(levels, rows)
    if h.nonfinite:
        lines[-1] = lines[-1][:-1] + "✕"
    return lines


def _stack(levels: npt.NDArray[np.int64], rows: int) -> list[str]:
    floors = range(8 * (rows - 1), -1, -8)
    return ["".join(BLOCKS[min(max(v - floor, 0), 8)] for v in levels.tolist()) for floor in floors]


SHADES: Final = " ·░▒▓█"


def heat(histograms: list[Histogram], axis: Axis, rows: int) -> list[str]:
    """Draw histograms as columns of shades, the top row being the upper end of `axis`.

    Each column is relative to its own peak, by square roots. One without spread is a single cell,
    one with nothing finite a column of crosses.
    """
    columns = [_shaded(h, axis, rows) for h in histograms]
    return ["".join(column[row] for column in columns) for row in range(rows)]


def _shaded(h: Histogram, axis: Axis, rows: int) -> str:
    if not h.total or not h.high > h.low:
        return ("✕" if h.nonfinite else " ") * rows
    if h.std == 0 and math.isfinite(h.mean):
        share = min(max((h.mean - axis.low) / (axis.high - axis.low), 0.0), 1.0)
        at = rows - 1 - min(int(share * rows), rows - 1)
        return " " * at + SHADES[-1] + " " * (rows - 1 - at)
    heights = np.sqrt(rebin(h, axis, rows))
    peak = float(heights.max())
    if not peak > 0:
        return " " * rows
    levels = np.ceil(heights / peak * (len(SHADES) - 1)).astype(np.int64)
    return "".join(SHADES[level] for level in reversed(levels.tolist()))


def bar(value: float, low: float, high: float, columns: int) -> str:
    """Draw `value` on a logarithmic scale from `low` to `high` as a bar of `columns`."""
    if not (value > 0 and high > low > 0 and math.isfinite(high / low)):
        return "╌" * columns
    share = math.log(min(max(value, low), high) / low) / math.log(high / low)
    filled = round(share * columns)
    return "━" * filled + "╌" * (columns - filled)
