"""Exponential smoothing of a series: the trend of a noisy loss."""

from typing import Final

import numpy as np

from engine.statistics.frames import Floats

STRENGTHS: Final = (0.0, 0.6, 0.9, 0.99)
"""Strengths in the order of the key: the share of the past in each value; 0 is off."""
_BLOCK: Final = 128  # 0.6 to the −128 is 1e28: float64 has room left for an exploding loss


def smooth(values: Floats, strength: float) -> Floats:
    """Return the exponential moving average, corrected for its start; gaps stay gaps.

    ŷₜ = Σ sᵏ·yₜ₋ₖ / Σ sᵏ over the finite values up to each point, `strength` s in [0, 1).
    """
    finite = np.isfinite(values)
    if not strength:
        return np.where(finite, values, np.nan)
    total = _decaying_sum(np.where(finite, values, 0.0), strength)
    weight = _decaying_sum(finite.astype(np.float64), strength)
    return np.where(finite, total / np.where(finite, weight, 1.0), np.nan)


def smooth_ratio(values: Floats, strength: float) -> Floats:
    """Return the geometric moving average: for positive values over decades it does not lag."""
    return np.asarray(np.power(10.0, smooth(logarithm(values), strength)))


def logarithm(values: Floats) -> Floats:
    """Return decimal logarithms, NaN for values that have none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.log10(values)
    return np.where(np.isfinite(powers), powers, np.nan)


def _decaying_sum(values: Floats, strength: float) -> Floats:
    """Return Σ sᵏ·yₜ₋ₖ for every t: a running sum in blocks, carried from each to the next."""
    size = len(values)
    blocks = -(-size // _BLOCK)
    padded = np.zeros((blocks, _BLOCK))
    padded.flat[:size] = values
    powers = strength ** np.arange(_BLOCK)
    sums = np.cumsum(padded / powers, axis=1) * powers
    carried, carry = np.zeros(blocks), 0.0
    for k in range(blocks):
        carried[k] = carry
        carry = float(sums[k, -1]) + strength * powers[-1] * carry
    sums += np.outer(carried, strength * powers)
    return np.asarray(sums.ravel()[:size])
