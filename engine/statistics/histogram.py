"""Histograms with 64 bins, whose ranges nest so that different tensors share one axis."""

from math import gcd

import numpy as np
import numpy.typing as npt

from engine.statistics.arrays import HISTOGRAM_SAMPLE, Array, Bounds, Host, Workspace, as_floats
from engine.statistics.frames import BINS, FIELDS, WIDTH_IN_RMS, Floats
from engine.statistics.moments import tensor_moments


def tensor_histogram(
    values: npt.ArrayLike,
    bounds: Bounds = (None, None),
    *,
    row: Floats | None = None,
    workspace: Workspace | None = None,
) -> tuple[npt.NDArray[np.int64], tuple[float, float]]:
    """Return the counts (1 + BINS + 1: below, the bins, above) and the range of the bins.

    `values` has any shape; of more than HISTOGRAM_SAMPLE elements every k-th is counted, and values
    that are not finite are left out. `bounds` are the natural limits of the values, such as (−1, 1)
    for tanh. Where there is none, the range ends at a power of two of at least WIDTH_IN_RMS root
    mean squares: such ranges nest, and histograms can be brought to one axis by merging bins.

    `row` (FIELDS,) are the moments of `values`, computed here if not given. A `workspace` of the
    dtype of `values` saves the allocation of scratch arrays.
    """
    array = as_floats(values)
    space = Workspace(array.dtype) if workspace is None else workspace
    row = tensor_moments(array, workspace=space) if row is None else row
    sample = every_kth(array)
    rms = float(np.hypot(row[FIELDS.index("mean")], row[FIELDS.index("std")]))
    if row[FIELDS.index("nonfinite")]:
        sample = sample[np.isfinite(sample)]
        rms = float(np.sqrt(np.mean(np.square(sample, dtype=np.float64)))) if len(sample) else 0
    low, high = _range(bounds, rms)
    # A value exactly on a natural bound (tanh at 1) belongs into the last bin, not above it.
    ceiling = BINS + 1 - (0.5 if bounds[1] is not None else 0.0)
    scale = BINS / (high - low)
    bins, cells = space.bins[: len(sample)], space.floats[: len(sample)]
    np.multiply(sample, scale, out=cells)
    np.add(cells, 1 - low * scale, out=cells)
    least, most = row[FIELDS.index("min")], row[FIELDS.index("max")]
    if bounds[1] is not None or not low < least <= most < high:
        np.clip(cells, 0, ceiling, out=cells)
    np.copyto(bins, cells, casting="unsafe")
    return np.bincount(bins, minlength=BINS + 2), (low, high)


def every_kth(values: Host) -> Host:
    """Return a flat view of at most HISTOGRAM_SAMPLE elements, spread over all rows and columns."""
    return values.reshape(-1)[:: sample_stride(values)]


def sample_stride(values: Array) -> int:
    """Return the distance between the elements that a histogram counts."""
    stride = -(-int(values.size) // HISTOGRAM_SAMPLE)
    while stride > 1 and gcd(stride, values.shape[-1]) > 1:
        stride += 1  # a stride that divides the row length would see some columns only
    return max(stride, 1)


def _range(bounds: Bounds, rms: float) -> tuple[float, float]:
    low, high = bounds
    reach = WIDTH_IN_RMS * rms
    usable = np.isfinite(reach) and reach > 0
    power = 2.0 ** float(np.clip(np.ceil(np.log2(reach)), -120, 120)) if usable else 1.0
    return (-power if low is None else low), (power if high is None else high)
