"""Moments and histogram of tensors: the table of a snapshot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final

import numpy as np

from engine.activations import Activation
from engine.backends.base import Array, Backend, Host
from engine.backends.cpu_kernels.library import address
from engine.statistics.frames import BINS, FIELDS, WIDTH_IN_RMS, Floats

BLOCK: Final = 1 << 17
"""Elements measured at a time: half a megabyte of float32, which stays in the L2 cache, and so many
that the calls themselves do not count."""
HISTOGRAM_SAMPLE: Final = 1 << 15
"""A histogram of a larger tensor counts every k-th element; the moments count all of them."""
SQUARABLE: Final = 1e-12, 1e12
"""Values whose largest is between these are squared and summed in their own precision: float32 ends
at 1e±38, so beyond them the variance would become 0 or infinite while the values are neither."""
MEAN_SHARE: Final = 0.5
"""Of Σ x², what may be the mean's for the variance to be what is left: one bit is lost at most."""


class Meter:
    """Measures one tensor at a time, with scratch space of its own."""

    def __init__(self, dtype: np.dtype[np.float64] | np.dtype[np.float32]) -> None:
        self._scratch = np.empty(BLOCK, dtype)
        self._ones = np.ones(BLOCK, dtype)
        self._flags = np.empty(BLOCK, np.bool_)
        self._bins = np.empty(HISTOGRAM_SAMPLE, np.uint8)

    def moments(self, values: Host, saturated: tuple[float, float] | None, row: Floats) -> None:
        """Fill `row` (FIELDS) from `values` of any shape.

        Each block is squared about 0, or where its mean is large beside its spread about that, and
        blocks are merged in float64 (Chan et al., 1979), so that no mean ruins the variance.
        """
        flat = values.reshape(-1)
        count, mean, m2 = 0, 0.0, 0.0
        low, high, zeros, saturation = np.inf, -np.inf, 0, 0
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            least, most = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
            flags = self._flags[: len(block)]
            block_mean, block_m2 = self._centred(block, max(-least, most))
            shift = block_mean - mean
            total = count + len(block)
            m2 += block_m2 + shift * shift * count * len(block) / total
            mean += shift * len(block) / total
            count = total
            low, high = min(low, least), max(high, most)
            if least <= 0 <= most:
                zeros += int(np.count_nonzero(np.equal(block, 0, out=flags)))
            if saturated is not None:
                saturation += int(np.count_nonzero(np.less_equal(block, saturated[0], out=flags)))
                saturation += int(
                    np.count_nonzero(np.greater_equal(block, saturated[1], out=flags))
                )
        if not np.isfinite(mean):  # min and max of Python drop NaN: whether there is one, mean says
            low, high = float(np.minimum.reduce(flat)), float(np.maximum.reduce(flat))
        nonfinite = 0 if np.isfinite(mean) else count - np.count_nonzero(np.isfinite(flat))
        std = np.sqrt(m2 / count) if low != high else 0.0  # equal values have no rounding noise
        row[:] = (count, mean, std, low, high, zeros / count, saturation / count, nonfinite)

    def _centred(self, block: Host, largest: float) -> tuple[float, float]:
        """Return the mean of `block`, and Σ (x − mean)²; `largest` is its largest magnitude."""
        if largest == 0:
            return 0.0, 0.0
        ones, scratch = self._ones[: len(block)], self._scratch[: len(block)]
        if not SQUARABLE[0] < largest < SQUARABLE[1]:
            block = block.astype(np.float64)  # rare: a signal that vanished or exploded
            ones, scratch = ones.astype(np.float64), np.empty_like(block)
        mean = float(np.dot(block, ones)) / len(block)  # twice as fast as a sum
        squares = float(np.dot(block, block))
        if (of_mean := mean * mean * len(block)) <= MEAN_SHARE * squares:
            return mean, squares - of_mean
        np.subtract(block, mean, out=scratch)
        return mean, float(np.dot(scratch, scratch))

    def histogram(
        self, values: Host, bounds: tuple[float | None, float | None], row: Floats
    ) -> tuple[Host, tuple[float, float]]:
        """Return counts (1 + BINS + 1: below, the bins, above) and the range of the bins.

        `row` holds the moments of `values`. A bound that is not given is a power of two, so that
        ranges of different tensors nest and can be brought to one axis by merging bins.
        """
        sample = every_kth(values)
        rms = float(np.hypot(row[FIELDS.index("mean")], row[FIELDS.index("std")]))
        if row[FIELDS.index("nonfinite")]:
            sample = sample[np.isfinite(sample)]
            rms = float(np.sqrt(np.mean(np.square(sample, dtype=np.float64)))) if len(sample) else 0
        low, high = _range(bounds, rms)
        # What lies exactly on a natural bound (tanh at 1) belongs into the last bin, not above it.
        ceiling = BINS + 1 - (0.5 if bounds[1] is not None else 0.0)
        scale = BINS / (high - low)
        bins, cells = self._bins[: len(sample)], self._scratch[: len(sample)]
        np.multiply(sample, scale, out=cells)
        np.add(cells, 1 - low * scale, out=cells)
        least, most = row[FIELDS.index("min")], row[FIELDS.index("max")]
        if bounds[1] is not None or not low < least <= most < high:
            np.clip(cells, 0, ceiling, out=cells)
        np.copyto(bins, cells, casting="unsafe")
        return np.bincount(bins, minlength=BINS + 2), (low, high)


def every_kth(values: Host) -> Host:
    """Return a flat view of at most HISTOGRAM_SAMPLE elements, spread over all rows and columns."""
    return values.reshape(-1)[:: stride_of(values)]


def stride_of(values: Array) -> int:
    """Return how far apart the elements are that a histogram counts."""
    stride = -(-int(values.size) // HISTOGRAM_SAMPLE)
    while stride > 1 and gcd(stride, values.shape[-1]) > 1:
        stride += 1  # a stride that divides the row length would see some columns only
    return max(stride, 1)


def _range(bounds: tuple[float | None, float | None], rms: float) -> tuple[float, float]:
    low, high = bounds
    reach = WIDTH_IN_RMS * rms
    usable = np.isfinite(reach) and reach > 0
    power = 2.0 ** float(np.clip(np.ceil(np.log2(reach)), -120, 120)) if usable else 1.0
    return (-power if low is None else low), (power if high is None else high)


@dataclass(frozen=True, slots=True)
class TensorSource:
    """One tensor: the values of a, or of a − b, which may be written over b."""

    a: Array
    b: Array | None = None
    activation: Activation | None = None  # whose output it is, for its bounds and its saturation

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest possible value, where there is one."""
        return (None, None) if self.activation is None else self.activation.bounds

    @property
    def saturated(self) -> tuple[float, float] | None:
        """Values at or beyond these are saturated."""
        return None if self.activation is None else self.activation.saturated

    @property
    def limits(self) -> list[float]:
        """Both, as a kernel takes them: NaN where there is none."""
        found = (*self.bounds, *(self.saturated or (None, None)))
        return [np.nan if limit is None else limit for limit in found]


class StatisticsTable:
    """The statistics of tensors, a row each: by a kernel where there is one, else by a `Meter`."""

    def __init__(self, backend: Backend, tensors: Sequence[TensorSource]) -> None:
        n = len(tensors)
        self._backend, self._tensors = backend, tensors
        self._meter = Meter(backend.dtype)
        self.statistics = np.empty((n, len(FIELDS)))
        self.histograms = np.empty((n, BINS + 2), np.int64)
        self.ranges = np.tile([-1.0, 1.0], (n, 1))
        self._left = np.ones(n, np.bool_)  # by the kernel to the meter: what is not finite
        self._kernel = self._compiled()

    def _compiled(self) -> Callable[[int, int], None] | None:
        found = self._backend.kernel("measure")
        if found is None or not all(each.a.flags.c_contiguous for each in self._tensors):
            return None
        rows = np.array([_described(each) for each in self._tensors], np.int64)
        limits = np.array([each.limits for each in self._tensors])
        filled = self.statistics, self.ranges, self.histograms, self._left
        return self._backend.kernel("measure", rows, limits, *filled)

    @property
    def compiled(self) -> bool:
        """Whether there is a kernel."""
        return self._kernel is not None

    def measure(self, begin: int, end: int) -> None:
        """Fill rows from `begin` to before `end`, by the kernel: threads may do so side by side."""
        if self._kernel is not None:
            self._kernel(begin, end)

    def complete(self, begin: int, end: int) -> None:
        """Fill those of the rows that the kernel left, or all where there is none."""
        with np.errstate(over="ignore", invalid="ignore"):  # of tensors that are not finite
            for row in np.flatnonzero(self._left[begin:end]):
                self._measure(begin + int(row))

    def _measure(self, row: int) -> None:
        tensor = self._tensors[row]
        if tensor.b is not None:
            self._backend.xp.subtract(tensor.a, tensor.b, out=tensor.b)
        values = self._backend.to_host(tensor.a if tensor.b is None else tensor.b)
        self._meter.moments(values, tensor.saturated, self.statistics[row])
        found = self._meter.histogram(values, tensor.bounds, self.statistics[row])
        self.histograms[row], self.ranges[row] = found


def _described(tensor: TensorSource) -> list[int]:
    """Return a tensor as the kernel takes it: a, b, count, stride, samples."""
    stride, b = stride_of(tensor.a), 0 if tensor.b is None else address(tensor.b)
    return [address(tensor.a), b, tensor.a.size, stride, -(-tensor.a.size // stride)]
