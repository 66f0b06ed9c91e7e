"""What each unit of a layer does over the examples of a batch: for a map of the units."""

from math import gcd
from typing import Final

import numpy as np

from engine.activations import Activation
from engine.backends.base import Array, Backend
from engine.network import BoundNetwork
from engine.statistics.frames import Units

MOST_UNITS: Final = 4096
"""A layer of more units than a screen can show is not measured unit by unit."""
VALUES: Final = 1 << 17
"""About so many activations of a layer are looked at, those of every k-th example or place."""


class UnitProbe:
    """Measures the units of all layers after a forward pass: on the device, a row a layer."""

    def __init__(self, network: BoundNetwork) -> None:
        self._backend = network.backend
        self._layers: list[_Layer | None] = []
        for group in network.network.groups(network.batch_shape[1:]):
            output = network.bound[group.output].output
            fits = output.shape[-1] <= MOST_UNITS
            layer = _Layer(output, group.activation, network.backend) if fits else None
            self._layers.append(layer)

    def measure(self, index: int) -> Units | None:
        """Return what the units of a layer (from 0) did; of more than MOST_UNITS, None."""
        layer = self._layers[index]
        with np.errstate(over="ignore", invalid="ignore"):  # of activations that are not finite
            return layer.measure(self._backend) if layer else None


class _Layer:
    """One layer's activations as rows of units, and the row of weights that averages over them."""

    def __init__(self, output: Array, activation: Activation, backend: Backend) -> None:
        self._rows = sample_rows(output)
        rows, units = self._rows.shape
        self._average = backend.full((rows,), 1 / rows)
        self._row = backend.empty((units,))
        self._floor, self._flat = activation.silent_at, activation.saturated
        self._found = backend.empty((units,)), np.empty(units), np.empty(units)
        floor = np.nan if self._floor is None else self._floor
        low, high = self._flat or (np.nan, np.nan)
        stride = self._rows.strides[0] // output.itemsize
        fixed = *self._found, floor, low, high, rows, units, stride, output
        contiguous = output.flags.c_contiguous
        self._kernel = backend.kernel("units", *fixed) if contiguous else None

    def measure(self, backend: Backend) -> Units:
        if self._kernel is not None:
            self._kernel()
            mean, active, saturated = (found.copy() for found in self._found)
            return Units(
                mean.astype(np.float32),
                None if self._floor is None else active,
                None if self._flat is None else saturated,
                None,
            )
        rows, floor, flat = self._rows, self._floor, self._flat
        active = None if floor is None else self._share(rows > floor, backend)
        saturated = None
        if flat is not None:
            saturated = self._share((rows <= flat[0]) | (rows >= flat[1]), backend)
        return Units(self._mean(rows, backend).astype(np.float32), active, saturated, None)

    def _share(self, hit: Array, backend: Backend) -> Array:
        return self._mean(hit.astype(backend.dtype), backend).astype(np.float64)

    def _mean(self, rows: Array, backend: Backend) -> Array:
        """Return the mean over rows (rows, units), on the host."""
        backend.xp.matmul(self._average, rows, out=self._row)
        return backend.to_host(self._row)


def sample_rows(output: Array) -> Array:
    """Return a view (rows, units) of a layer's output (batch, *places, units), evenly spread."""
    rows = output.reshape(-1, output.shape[-1])
    stride = -(-rows.size // VALUES)
    while output.ndim > 2 and gcd(stride, output.shape[-2]) > 1:
        stride += 1  # one that divides the width of an image would see some of its columns only
    return rows[::stride]
