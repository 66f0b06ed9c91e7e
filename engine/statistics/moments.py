"""Moments of a tensor: mean, standard deviation, range, and shares of special values."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.statistics.arrays import BLOCK, Host, Workspace, as_floats
from engine.statistics.frames import FIELDS, Floats

SQUARABLE: Final = 1e-12, 1e12
"""Values whose largest magnitude is between these are squared and summed in their own precision.
float32 ends at 1e±38: beyond these limits its squares would give a variance of 0 or infinity."""
MEAN_SHARE: Final = 0.5
"""The largest share of Σ x² that may be due to the mean for the variance to be computed as the
difference of the two, which then loses at most one bit."""
CENTRINGS: Final = 2
"""Times that a block is centred at most. The mean of float32 values is off by its rounding, which
is 30 standard deviations of values with mean 10⁶ and std 1; the mean of what is left is not."""
DOUBLE_RANGE: Final = 1e-150, 1e150
"""Values whose largest magnitude is not between these are scaled before they are squared."""


def tensor_moments(
    values: npt.ArrayLike,
    saturation: tuple[float, float] | None = None,
    *,
    out: Floats | None = None,
    workspace: Workspace | None = None,
) -> Floats:
    """Return count, mean, std, min, max, … of `values`, in the order of FIELDS.

    `values` has any shape; without elements all but the counts is NaN. Values at or beyond the
    limits `saturation` (low, high) count as saturated. NaN and infinite values are counted in
    "nonfinite" and make the mean and std NaN or infinite.

    The result is written into `out` (FIELDS,) if given. A `workspace` of the dtype of `values`
    saves the allocation of scratch arrays.

    Each block is squared about 0, or about its mean where the mean is large compared with the
    spread, and blocks are merged in float64 (Chan et al., 1979). So the std is as precise as the
    values allow, whatever their mean and their magnitude.
    """
    flat = as_floats(values).reshape(-1)
    row = np.empty(len(FIELDS)) if out is None else out
    if not flat.size:
        row[:] = (0, *[np.nan] * (len(FIELDS) - 2), 0)
        return row
    space = Workspace(flat.dtype) if workspace is None else workspace
    count, mean, m2 = 0, 0.0, 0.0
    low, high, zeros, saturated = np.inf, -np.inf, 0, 0
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        least, most = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
        flags = space.flags[: len(block)]
        block_mean, block_m2 = _centred(block, max(-least, most), space)
        shift = block_mean - mean
        total = count + len(block)
        m2 += block_m2 + shift * shift * count * len(block) / total
        mean += shift * len(block) / total
        count = total
        low, high = min(low, least), max(high, most)
        if least <= 0 <= most:
            zeros += int(np.count_nonzero(np.equal(block, 0, out=flags)))
        if saturation is not None:
            saturated += int(np.count_nonzero(np.less_equal(block, saturation[0], out=flags)))
            saturated += int(np.count_nonzero(np.greater_equal(block, saturation[1], out=flags)))
    if not np.isfinite(mean):  # min and max of Python drop NaN; the mean shows if there is one
        low, high = float(np.minimum.reduce(flat)), float(np.maximum.reduce(flat))
    nonfinite = 0 if np.isfinite(mean) else count - np.count_nonzero(np.isfinite(flat))
    largest = max(-low, high)
    if low == high and math.isfinite(low):
        mean, std = low, 0.0  # equal values have no rounding noise
    elif 0 < largest < math.inf and not DOUBLE_RANGE[0] < largest < DOUBLE_RANGE[1]:
        scale = math.ldexp(1.0, math.frexp(largest)[1] - 1)
        scaled = tensor_moments(flat / scale)
        mean, std = scaled[1] * scale, scaled[2] * scale
    else:
        std = float(np.sqrt(m2 / count))
    row[:] = (count, mean, std, low, high, zeros / count, saturated / count, nonfinite)
    return row


def _centred(block: Host, largest: float, space: Workspace) -> tuple[float, float]:
    """Return the mean of `block`, and Σ (x − mean)²; `largest` is its largest magnitude."""
    if largest == 0:
        return 0.0, 0.0
    ones, scratch = space.ones[: len(block)], space.floats[: len(block)]
    if not SQUARABLE[0] < largest < SQUARABLE[1]:
        block = block.astype(np.float64)  # rare: a signal that vanished or exploded
        ones, scratch = ones.astype(np.float64), np.empty_like(block)
    return _about_the_mean(block, ones, scratch, CENTRINGS)


def _about_the_mean(block: Host, ones: Host, scratch: Host, centrings: int) -> tuple[float, float]:
    mean = float(np.dot(block, ones)) / len(block)  # twice as fast as a sum
    squares = float(np.dot(block, block))
    of_mean = mean * mean * len(block)
    if not centrings or of_mean <= MEAN_SHARE * squares:
        return mean, max(squares - of_mean, 0.0)
    centre = block.dtype.type(mean)  # as it is subtracted
    np.subtract(block, centre, out=scratch)
    rest, m2 = _about_the_mean(scratch, ones, scratch, centrings - 1)
    return float(centre) + rest, m2
