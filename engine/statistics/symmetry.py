"""What is measured of a layer's units against each other, and of the inputs that they share."""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.backends.base import Array, Backend, Host

BLOCK: Final = 1 << 15  # elements looked at a time
WEIGHTS: Final = 1 << 16
"""Units are compared by at most about so many of a layer's weights: those from every k-th input."""
EXAMPLES: Final = 64
"""The signs of a layer's inputs are looked at in at most so many examples of the batch."""


def row_stride(rows: int, wanted: int) -> int:
    """Return how far apart at most so many of the rows are."""
    return -(-rows // max(wanted, 1))


def asymmetry(weight: Host) -> float:
    """Return ‖W − mean over units‖ / ‖W‖ of a weight (inputs, units), between 0 and 1.

    0 where all units are the same, so also for weights that are all zero; NaN where some are not
    finite. Units that begin the same get the same gradient, and stay the same (lecture 6).
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

    `inputs` (examples, features) of an affine layer and dL/dz (examples, units) of its output. The
    gradient of a unit's incoming weights is, for one example, x · dL/dz: of one sign where x is
    nowhere negative or nowhere positive, and not zero altogether. Pairs with dL/dz = 0 do not
    count; NaN where there are no others. Such a unit can change its weights only all upwards or all
    downwards, and zigzags (lecture 6).
    """
    low, high = inputs.min(axis=1), inputs.max(axis=1)
    signed = ((low >= 0) & (high > 0)) | ((high <= 0) & (low < 0))
    pairs = np.count_nonzero(gradient, axis=1)
    total = int(pairs.sum())
    return float(pairs[signed].sum() / total) if total else float("nan")


def bind_asymmetry(backend: Backend, weight: Array) -> Callable[[], float]:
    """Return what gives the `asymmetry` of every k-th input of a weight (inputs, units)."""
    stride = row_stride(len(weight), WEIGHTS // weight.shape[1])
    rows = weight[::stride]
    measure = backend.kernel("asymmetry", *rows.shape, stride * weight.shape[1], weight)

    def found() -> float:
        by_kernel: float = np.nan if measure is None else measure()
        # The formula knows what to say of zeros, and of what is not finite.
        return by_kernel if np.isfinite(by_kernel) else asymmetry(backend.to_host(rows))

    return found


def bind_one_signed(
    backend: Backend, inputs: Callable[[], Array], gradient: Array
) -> Callable[[], float]:
    """Return what gives `one_signed` of every k-th example (batch, features), (batch, units)."""
    stride, units = row_stride(len(gradient), EXAMPLES), gradient.shape[1]
    dz = gradient[::stride]
    measure = backend.kernel("one_signed", *dz.shape, stride * units, gradient)

    def found() -> float:
        x = inputs()
        if measure is None:
            return one_signed(backend.to_host(x[::stride]), backend.to_host(dz))
        by_kernel: float = measure(x.shape[1], stride * x.shape[1], x)
        return by_kernel

    return found
