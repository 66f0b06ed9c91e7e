"""Rounding to cells that does not hang on a value's last bits.

NumPy, BLAS and compilers choose their instructions by the processor, so the last bits of a result
differ between machines. Values that a formula puts on the border between two cells (√½ on a scale
of octaves, a constant curve in the middle of its axis) would fall on either side of it.
"""

from typing import Final, overload

import numpy as np

from engine.statistics.frames import Floats

DECIMALS: Final = 9
"""Decimals of a place in cells, or of a share of an axis, that count: far more than can be seen."""
SMALLEST: Final = 1e-300
"""Lengths below this cannot be divided into cells: half a cell would be 0."""


@overload
def settled(place: float) -> float: ...
@overload
def settled(place: Floats) -> Floats: ...
def settled(place: float | Floats) -> float | Floats:
    """Return a place without its last bits, ready to be rounded to a whole cell.

    The borders are still somewhere, but half a billionth of a cell beside all round numbers.
    """
    if isinstance(place, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):  # NumPy rounds by way of 10⁹ place
            rounded = np.round(place, DECIMALS)
        return np.where(np.isfinite(rounded), rounded, place)
    return round(place, DECIMALS)


def apart(low: float, high: float) -> bool:
    """Return whether two numbers differ by more than their last bits do."""
    return high - low > max(10.0**-DECIMALS * max(abs(low), abs(high)), SMALLEST)
