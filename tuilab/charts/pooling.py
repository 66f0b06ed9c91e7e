"""Several histograms as one."""

import math
from collections.abc import Sequence

import numpy as np

from engine.statistics.frames import BINS
from tuilab.charts.distributions import Histogram, is_empty

MOST = 32  # histograms that are pooled; of more, an even selection


def pooled(histograms: Sequence[Histogram]) -> Histogram:
    """Return the mean distribution of several tensors, each with the same weight.

    Mean and std are those of the mixture; `nonfinite` is the sum.
    """
    if len(histograms) == 1:
        return histograms[0]
    bad = sum(h.nonfinite for h in histograms)
    usable = [h for h in histograms if not is_empty(h) and math.isfinite(h.std)]
    if not usable:
        return Histogram(np.zeros(BINS + 2), math.nan, math.nan, nonfinite=bad)
    usable = [usable[at] for at in np.unique(np.linspace(0, len(usable) - 1, MOST).astype(int))]
    low, high = min(h.low for h in usable), max(h.high for h in usable)
    edges = np.linspace(low, high, BINS + 1)
    bins = np.zeros(BINS + 2)
    zeros = 0.0
    for h in usable:
        below = np.interp(edges, *h.cumulative()) / h.total
        bins += np.concatenate([[below[0]], np.diff(below), [1 - below[-1]]])
        zeros += h.zeros / h.total
    means = np.array([h.mean for h in usable])
    mean = float(means.mean())
    square = np.mean([h.std**2 for h in usable]) + means.var()
    lowest, highest = min(h.min for h in usable), max(h.max for h in usable)
    return Histogram(bins, low, high, mean, math.sqrt(square), lowest, highest, zeros, bad)
