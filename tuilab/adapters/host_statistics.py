"""Statistics of one array in main memory at a time, by the engine's kernels."""

from typing import Any

import numpy as np

from engine.backends.cpu_kernels.library import kernels
from engine.backends.numpy_backend import NumPyBackend
from engine.statistics.arrays import Bounds, Host
from engine.statistics.frames import Floats
from engine.statistics.tensor_statistics import StatisticsTable, TensorSource


class HostStatistics:
    """Measures arrays of float32 or float64; what it needs for each type is made once."""

    def __init__(self) -> None:
        self._tables: dict[np.dtype[Any], StatisticsTable] = {}

    def of(
        self,
        values: Host,
        *,
        minus: Host | None = None,
        bounds: Bounds = (None, None),
        saturation: tuple[float, float] | None = None,
    ) -> tuple[Floats, Any, Floats]:
        """Return the statistics (FIELDS,), histogram (1 + BINS + 1,) and range (2,) of an array.

        With `minus`, which is overwritten, those of the difference. They are valid until the next
        call.
        """
        table = self._table(values.dtype)
        table.point(0, TensorSource(values, minus, bounds, saturation))
        table.measure(0, 1)
        table.complete(0, 1)
        table.point(0, TensorSource(values[:0]))  # holds no array
        return table.statistics[0], table.histograms[0], table.ranges[0]

    def _table(self, dtype: np.dtype[Any]) -> StatisticsTable:
        table = self._tables.get(dtype)
        if table is None:
            name = str(dtype)
            backend = NumPyBackend(name, 1, kernels(name))
            empty = TensorSource(np.empty(0, dtype))
            table = self._tables[dtype] = StatisticsTable(backend, [empty])
        return table
