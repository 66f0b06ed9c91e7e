"""Moments and histogram of tensors: of one array in one call, or of many as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.statistics.arrays import Array, ArrayBackend, Bounds, Workspace, as_floats
from engine.statistics.frames import BINS, FIELDS, Floats
from engine.statistics.histogram import sample_stride, tensor_histogram
from engine.statistics.moments import tensor_moments


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """The statistics of one tensor: one row of a snapshot's table."""

    row: Floats  # (FIELDS,)
    histogram: npt.NDArray[np.int64]  # (1 + BINS + 1,): below, the bins, above
    range: tuple[float, float]  # low and high edge of the bins

    def __getitem__(self, field: str) -> float:
        """Return one of FIELDS, such as "mean"; raises KeyError for another name."""
        if field not in FIELDS:
            raise KeyError(f"{field!r} is not one of {', '.join(FIELDS)}")
        return float(self.row[FIELDS.index(field)])


def measure_tensor(
    values: npt.ArrayLike,
    *,
    bounds: Bounds = (None, None),
    saturation: tuple[float, float] | None = None,
    workspace: Workspace | None = None,
) -> TensorStatistics:
    """Return the moments and the histogram of `values`, a real array of any shape.

    `bounds` are the lowest and highest possible value, None where there is none; values at or
    beyond the limits `saturation` (low, high) count as saturated. The details are those of
    `tensor_moments` and `tensor_histogram`.
    """
    array = as_floats(values)
    space = Workspace(array.dtype) if workspace is None else workspace
    with np.errstate(over="ignore", invalid="ignore"):  # of tensors that are not finite
        row = tensor_moments(array, saturation, workspace=space)
        return TensorStatistics(row, *tensor_histogram(array, bounds, row=row, workspace=space))


@dataclass(frozen=True, slots=True)
class TensorSource:
    """One tensor of a table: the values of a, or of a − b, which may be written over b."""

    a: Array
    b: Array | None = None
    bounds: Bounds = (None, None)
    saturation: tuple[float, float] | None = None  # values at or beyond these are saturated

    @property
    def limits(self) -> list[float]:
        """Bounds and saturation as a kernel takes them: NaN where there is none."""
        limits = (*self.bounds, *(self.saturation or (None, None)))
        return [np.nan if limit is None else limit for limit in limits]


class StatisticsTable:
    """The statistics of many tensors, one row each, filled again and again without allocating.

    `statistics` is (tensors, FIELDS), `histograms` (tensors, 1 + BINS + 1), `ranges` (tensors, 2).
    Rows are computed by the compiled kernel of the back-end where there is one, else by NumPy.
    """

    def __init__(self, backend: ArrayBackend, tensors: Sequence[TensorSource]) -> None:
        n = len(tensors)
        self._backend, self._tensors = backend, [*tensors]
        self._workspace = Workspace(backend.dtype)
        self.statistics = np.empty((n, len(FIELDS)))
        self.histograms = np.empty((n, BINS + 2), np.int64)
        self.ranges = np.tile([-1.0, 1.0], (n, 1))
        self._left = np.ones(n, np.bool_)  # rows that the kernel leaves to NumPy: not finite
        self._kernel = self._compiled()

    def _compiled(self) -> Callable[[int, int], None] | None:
        available = self._backend.kernel("measure") is not None
        if not available or not all(tensor.a.flags.c_contiguous for tensor in self._tensors):
            return None
        self._rows = np.array([_described(tensor) for tensor in self._tensors], np.int64)
        self._limits = np.array([tensor.limits for tensor in self._tensors])
        filled = self.statistics, self.ranges, self.histograms, self._left
        return self._backend.kernel("measure", self._rows, self._limits, *filled)

    def point(self, row: int, tensor: TensorSource) -> None:
        """Measure another tensor in a row from now on, contiguous and of the back-end's dtype."""
        self._tensors[row], self._left[row] = tensor, True
        if self._kernel is not None:  # which reads the arrays at each call
            self._rows[row], self._limits[row] = _described(tensor), tensor.limits

    @property
    def compiled(self) -> bool:
        """Whether rows are computed by a compiled kernel."""
        return self._kernel is not None

    def measure(self, begin: int, end: int) -> None:
        """Fill the rows [begin, end) by the kernel; threads may do so side by side."""
        if self._kernel is not None:
            self._kernel(begin, end)

    def complete(self, begin: int, end: int) -> None:
        """Fill the rows in [begin, end) that the kernel has left out, or all without a kernel."""
        with np.errstate(over="ignore", invalid="ignore"):  # of tensors that are not finite
            for row in np.flatnonzero(self._left[begin:end]):
                self._measure(begin + int(row))

    def _measure(self, index: int) -> None:
        tensor, row, space = self._tensors[index], self.statistics[index], self._workspace
        if tensor.b is not None:
            self._backend.xp.subtract(tensor.a, tensor.b, out=tensor.b)
        values = self._backend.to_host(tensor.a if tensor.b is None else tensor.b)
        tensor_moments(values, tensor.saturation, out=row, workspace=space)
        counts, edges = tensor_histogram(values, tensor.bounds, row=row, workspace=space)
        self.histograms[index], self.ranges[index] = counts, edges


def _described(tensor: TensorSource) -> list[int]:
    """Return a tensor as the kernel takes it: a, b, count, stride, samples."""
    stride, b = sample_stride(tensor.a), 0 if tensor.b is None else tensor.b.ctypes.data
    return [tensor.a.ctypes.data, b, tensor.a.size, stride, -(-tensor.a.size // stride)]
