"""What each unit of a layer does over the examples of a batch: for a map of the units."""

from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.statistics.arrays import Array, ArrayBackend, NumPyArrays, as_floats
from engine.statistics.frames import Units

MOST_UNITS: Final = 4096
"""A layer with more units than a screen can show is not measured unit by unit."""
VALUES: Final = 1 << 17
"""About how many activations of a layer are measured: those of every k-th example or place."""


def measure_units(
    output: npt.ArrayLike,
    *,
    floor: float | None = None,
    saturation: tuple[float, float] | None = None,
) -> Units:
    """Return what each unit did in `output` (examples, *places, units), a plain array.

    A unit of a convolution is a channel, the last axis. `floor` is the output above which a unit is
    active, and `saturation` are the limits (low, high) at or beyond which it is saturated; None
    where the activation has none. Of a large output, every k-th row is measured. `dead` is None: it
    takes an epoch to know (`DeadUnitTracker`).
    """
    array = np.ascontiguousarray(as_floats(output))
    return UnitProbe(NumPyArrays(array.dtype), array, floor, saturation).measure()


class UnitProbe:
    """Measures the units of one layer, whose output is always written to the same array."""

    def __init__(
        self,
        backend: ArrayBackend,
        output: Array,
        floor: float | None = None,
        saturation: tuple[float, float] | None = None,
    ) -> None:
        """`output` (examples, *places, units), `floor`, `saturation`: see `measure_units`."""
        self._backend, self._rows = backend, sample_rows(output)
        rows, units = self._rows.shape
        self._average = backend.full((rows,), 1 / rows)
        self._row = backend.empty((units,))
        self._floor, self._saturation = floor, saturation
        # Mean, active share and saturated share of each unit, as the kernel fills them.
        self._filled = backend.empty((units,)), np.empty(units), np.empty(units)
        low, high = saturation or (np.nan, np.nan)
        stride = self._rows.strides[0] // output.itemsize
        numbers = (np.nan if floor is None else floor), low, high, rows, units, stride
        contiguous = output.flags.c_contiguous
        self._kernel = (
            backend.kernel("units", *self._filled, *numbers, output) if contiguous else None
        )

    def measure(self) -> Units:
        """Return what the units did in the last forward pass, on the host."""
        with np.errstate(over="ignore", invalid="ignore"):  # of activations that are not finite
            return self._by_formula() if self._kernel is None else self._by_kernel()

    def _by_kernel(self) -> Units:
        assert self._kernel is not None
        self._kernel()
        mean, active, saturated = (values.copy() for values in self._filled)
        return Units(
            mean.astype(np.float32),
            None if self._floor is None else active,
            None if self._saturation is None else saturated,
            None,
        )

    def _by_formula(self) -> Units:
        rows, limits = self._rows, self._saturation
        active = None if self._floor is None else self._share(rows > self._floor)
        saturated = None
        if limits is not None:
            saturated = self._share((rows <= limits[0]) | (rows >= limits[1]))
        return Units(self._mean(rows).astype(np.float32), active, saturated, None)

    def _share(self, hit: Array) -> Array:
        return self._mean(hit.astype(self._backend.dtype)).astype(np.float64)

    def _mean(self, rows: Array) -> Array:
        """Return the mean over rows (rows, units), on the host."""
        self._backend.xp.matmul(self._average, rows, out=self._row)
        return self._backend.to_host(self._row)


def sample_rows(output: Array) -> Array:
    """Return a view (rows, units) of a layer's output (batch, *places, units), evenly spread."""
    rows = output.reshape(-1, output.shape[-1])
    stride = -(-rows.size // VALUES)
    while output.ndim > 2 and gcd(stride, output.shape[-2]) > 1:
        stride += 1  # one that divides the width of an image would see some of its columns only
    return rows[::stride]
