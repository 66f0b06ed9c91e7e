"""Statistics of tensors where they are: on the host by the engine's kernels, without a copy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from engine.statistics.arrays import Bounds, Host
from engine.statistics.frames import BINS, FIELDS, Floats
from tuilab.adapters.host_statistics import HostStatistics

COUNT, MEAN, STD, LOW, HIGH, ZEROS, SATURATED, NONFINITE = range(len(FIELDS))
UNBOUNDED: Final[Bounds] = (None, None)
FIRST_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Statistics:
    """Rows of statistics by slot, as they were at the end of a step."""

    statistics: Floats  # (slots, FIELDS); NaN where a slot was not filled
    histograms: Any  # (slots, 1 + BINS + 1)
    ranges: Floats  # (slots, 2)


class HostSlots:
    """Statistics of tensors in main memory, computed at once; a slot is one tensor of one layer.

    A slot that is filled more than once in a step, as with accumulated gradients or a module that
    is called on several batches, has the statistics of all its values together.
    """

    def __init__(self) -> None:
        self._number = 0
        self._filled = np.zeros(FIRST_ROWS, np.int64)
        self._statistics = np.full((FIRST_ROWS, len(FIELDS)), np.nan)
        self._histograms = np.zeros((FIRST_ROWS, BINS + 2), np.int64)
        self._ranges = np.full((FIRST_ROWS, 2), np.nan)
        self._host = HostStatistics()

    def new(self) -> int:
        """Return a new slot."""
        self._number += 1
        if self._number > len(self._filled):
            for name in ("_filled", "_statistics", "_histograms", "_ranges"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
            self._statistics[self._number - 1 :] = np.nan
            self._ranges[self._number - 1 :] = np.nan
        return self._number - 1

    def filled(self, slot: int) -> bool:
        """Return whether a slot was filled in this step."""
        return bool(self._filled[slot])

    def measure(
        self,
        slot: int,
        tensor: torch.Tensor,
        *,
        bounds: Bounds = UNBOUNDED,
        saturation: tuple[float, float] | None = None,
        before: torch.Tensor | None = None,
    ) -> None:
        """Add the values of a tensor to a slot; with `before`, those of tensor − before.

        `before` is overwritten. Values of half precision are measured in single precision.
        """
        values = host_array(tensor)
        minus = None if before is None else host_array(before)
        if self._filled[slot]:
            low, high = self._ranges[slot].tolist()
            bounds = low, high  # so that counts add up
        measured = self._host.of(values, minus=minus, bounds=bounds, saturation=saturation)
        self._add(slot, *measured)

    def clear(self, slot: int) -> None:
        """Forget what was measured in this step."""
        self._filled[slot] = 0

    def copy(self, source: int, target: int) -> None:
        """Let a slot have the statistics of another in this step."""
        for rows in (self._filled, self._statistics, self._histograms, self._ranges):
            rows[target] = rows[source]

    def divide(self, slot: int, scale: float) -> None:
        """Divide the values of a slot by a scale above 0."""
        self._statistics[slot, MEAN : HIGH + 1] /= scale
        self._ranges[slot] /= scale

    def moments(self, slot: int) -> tuple[float, float]:
        """Return the mean and the std of a slot in this step."""
        return float(self._statistics[slot, MEAN]), float(self._statistics[slot, STD])

    def take(self) -> Callable[[], Statistics]:
        """Return what was measured since the last call, and begin a new step."""
        n = self._number
        empty = self._filled[:n] == 0
        statistics = self._statistics[:n].copy()
        histograms, ranges = self._histograms[:n].copy(), self._ranges[:n].copy()
        statistics[empty] = np.nan
        ranges[empty] = np.nan
        histograms[empty] = 0
        self._filled[:n] = 0
        taken = Statistics(statistics, histograms, ranges)
        return lambda: taken

    def _add(self, slot: int, row: Floats, histogram: Any, edges: Floats) -> None:
        if not self._filled[slot]:
            self._statistics[slot], self._histograms[slot] = row, histogram
            self._ranges[slot] = edges
        else:
            merge(self._statistics[slot], row)
            self._histograms[slot] += histogram
        self._filled[slot] += 1


def merge(into: Floats, other: Floats) -> None:
    """Merge two rows of statistics (FIELDS,), as if all values had been measured together.

    Chan et al. (1979), as `tensor_moments` does it for blocks.
    """
    ours, theirs = into[COUNT], other[COUNT]
    total = ours + theirs
    if not total:
        return
    share = theirs / total
    shift = other[MEAN] - into[MEAN]
    with np.errstate(over="ignore", invalid="ignore"):
        variance = (1 - share) * into[STD] ** 2 + share * other[STD] ** 2
        into[STD] = np.sqrt(variance + shift * shift * share * (1 - share))
        into[MEAN] += shift * share
    into[LOW], into[HIGH] = np.minimum(into[LOW], other[LOW]), np.maximum(into[HIGH], other[HIGH])
    for kind in (ZEROS, SATURATED):
        into[kind] += share * (other[kind] - into[kind])
    into[COUNT], into[NONFINITE] = total, into[NONFINITE] + other[NONFINITE]


def host_array(tensor: torch.Tensor) -> Host:
    """Return the values of a tensor in main memory as float32 or float64, contiguous.

    They share the tensor's memory where it is dense: the order of the values does not matter to
    their statistics. Values of a sparse tensor are those that it stores; complex ones become pairs.
    """
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = (
            tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.values()
        )
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    values: Host = dense(tensor).numpy()
    return values


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous tensor with the same values, in any order; a view where that works."""
    if tensor.is_contiguous():
        return tensor.reshape(1) if not tensor.ndim else tensor
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    view = tensor.permute(order)
    return view if view.is_contiguous() else tensor.contiguous()
