"""Asymmetry of a layer's units, and gradients whose components all have one sign."""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.statistics.arrays import Array, ArrayBackend, Host

BLOCK: Final = 1 << 15  # elements measured at a time
WEIGHTS: Final = 1 << 16
"""About how many of a layer's weights are compared at most: those from every k-th input."""
EXAMPLES: Final = 64
"""At most this many examples of a batch are used for the signs of a layer's inputs."""


def row_stride(rows: int, at_most: int) -> int:
    """Return the distance between rows at which no more than `at_most` of them are taken."""
    return -(-rows // max(at_most, 1))


def asymmetry(weight: Host) -> float:
    """Return ‖W − mean over units‖ / ‖W‖ of a weight (inputs, units), between 0 and 1.

    0 if all units are the same, which includes weights that are all zero; NaN if some are not
    finite. Units that begin the same get the same gradient and stay the same (lecture 6).
    """
    total = spread = 0.0
    rows = max(1, BLOCK // weight.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        largest = max(-float(weight.min()), float(weight.max()))
        if largest == 0 or not np.isfinite(largest):
            return 0.0 if largest == 0 else float("nan")
        for start in range(0, len(weight), rows):
            block = np.multiply(weight[start : start + rows], 1 / largest, dtype=np.float64)
            total += float(np.vdot(block, block))
            block -= block[:, :1].copy()  # equal units leave exactly nothing
            sums = block.sum(axis=1)
            spread += float(np.vdot(block, block)) - float(sums @ sums) / block.shape[1]
    return float(np.sqrt(max(spread, 0.0) / total))


def one_signed(inputs: Host, gradient: Host) -> float:
    """Return the share of (example, unit) pairs whose weight gradient has one sign.

    `inputs` (examples, features) go into an affine layer, and `gradient` is dL/dz (examples, units)
    of its output. For one example, the gradient of a unit's incoming weights is x · dL/dz: it has
    one sign if no component of x is negative or none is positive, and x is not zero. Pairs with
    dL/dz = 0 do not count; NaN if there are no others. Such a unit can only increase all of its
    weights or decrease all of them, and zigzags (lecture 6).
    """
    low, high = inputs.min(axis=1), inputs.max(axis=1)
    signed = ((low >= 0) & (high > 0)) | ((high <= 0) & (low < 0))
    pairs = np.count_nonzero(gradient, axis=1)
    total = int(pairs.sum())
    return float(pairs[signed].sum() / total) if total else float("nan")


def bind_asymmetry(backend: ArrayBackend, weight: Array) -> Callable[[], float]:
    """Return a function for the `asymmetry` of every k-th input of a weight (inputs, units).

    `weight` is the array that every step changes in place.
    """
    stride = row_stride(len(weight), WEIGHTS // weight.shape[1])
    rows = weight[::stride]
    measure = backend.kernel("asymmetry", *rows.shape, stride * weight.shape[1], weight)

    def measured() -> float:
        by_kernel: float = np.nan if measure is None else measure()
        # The formula handles weights that are all zero or not finite.
        return by_kernel if np.isfinite(by_kernel) else asymmetry(backend.to_host(rows))

    return measured


def bind_one_signed(
    backend: ArrayBackend, inputs: Callable[[], Array], gradient: Array
) -> Callable[[], float]:
    """Return a function for `one_signed` of every k-th example.

    `inputs` returns the input of the layer in the last forward pass (batch, features), and
    `gradient` (batch, units) is the array that every backward pass writes to.
    """
    stride, units = row_stride(len(gradient), EXAMPLES), gradient.shape[1]
    dz = gradient[::stride]
    measure = backend.kernel("one_signed", *dz.shape, stride * units, gradient)

    def measured() -> float:
        x = inputs()
        if measure is None:
            return one_signed(backend.to_host(x[::stride]), backend.to_host(dz))
        by_kernel: float = measure(x.shape[1], stride * x.shape[1], x)
        return by_kernel

    return measured
