"""Statistics of tensors in main memory: by the engine's kernels, where the tensors are."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import gcd
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from engine.backends.cpu_kernels.library import Kernels, kernels
from engine.statistics.arrays import HISTOGRAM_SAMPLE, Bounds, Host
from engine.statistics.frames import BINS, FIELDS, Floats, Units
from engine.statistics.symmetry import EXAMPLES, WEIGHTS, asymmetry, one_signed, row_stride
from engine.statistics.tensor_statistics import measure_tensor
from engine.statistics.units import VALUES, measure_units

COUNT, MEAN, STD, LOW, HIGH, ZEROS, SATURATED, NONFINITE = range(len(FIELDS))
UNBOUNDED: Final[Bounds] = (None, None)
FLOATS: Final = (torch.float32, torch.float64)
FIRST_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was measured in one step: of tensors by slot, of layers by row."""

    statistics: Floats  # (slots, FIELDS); NaN where a slot was not filled
    histograms: npt.NDArray[np.int64]  # (slots, 1 + BINS + 1)
    ranges: Floats  # (slots, 2)
    units: Mapping[Hashable, Units] = field(default_factory=dict)
    highest: Mapping[Any, Floats] = field(default_factory=dict)
    """The highest output of each unit, or infinity where all that matters is that it was active."""
    asymmetry: Mapping[Hashable, float] = field(default_factory=dict)
    one_signed: Mapping[Hashable, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """Statistics that may not be computed yet: `result` may be called once `ready`."""

    result: Callable[[], Statistics]
    ready: Callable[[], bool] = lambda: True


class HostSlots:
    """Statistics of tensors in main memory, computed at once; a slot is one tensor of one layer.

    A slot that is filled more than once in a step, as with accumulated gradients or a module that
    is called on several batches, has the statistics of all its values together.
    """

    def __init__(self) -> None:
        self._filled = np.zeros(FIRST_ROWS, np.int64)
        self._statistics = np.full((FIRST_ROWS, len(FIELDS)), np.nan)
        self._histograms = np.zeros((FIRST_ROWS, BINS + 2), np.int64)
        self._ranges = np.full((FIRST_ROWS, 2), np.nan)
        self._copies: dict[int, torch.Tensor] = {}  # by where the parameter is; used at every step
        self._copied: set[int] = set()
        self._kernels: dict[torch.dtype, _Direct | None] = {}
        self._forget()

    def _forget(self) -> None:
        self._units: dict[Hashable, Units] = {}
        self._highest: dict[Hashable, Floats] = {}
        self._asymmetry: dict[Hashable, float] = {}
        self._one_signed: dict[Hashable, float] = {}

    def reserve(self, slots: int) -> None:
        """Have room for at least this many slots."""
        while len(self._filled) < slots:
            n = len(self._filled)
            for name in ("_filled", "_statistics", "_histograms", "_ranges"):
                rows = getattr(self, name)
                setattr(self, name, np.concatenate([rows, np.zeros_like(rows)]))
            self._statistics[n:] = self._ranges[n:] = np.nan

    def filled(self, slot: int) -> bool:
        """Return whether a slot was filled in this step."""
        return slot < len(self._filled) and bool(self._filled[slot])

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

        `before` comes from `copy_of`. Values of half precision are measured in single precision.
        """
        if slot >= len(self._filled):
            self.reserve(slot + 1)
        again, unlimited = self._filled[slot], bounds[1] is None
        if again:
            low, high = self._ranges[slot].tolist()
            bounds = low, high  # so that counts add up
        values = plain(tensor)
        direct = self._direct(values.dtype)
        if direct is None or not direct.measure(values, before, bounds, saturation):
            array = values.numpy()
            if before is not None:
                array = array.reshape(-1) - before.numpy().reshape(-1)
            by_formula = measure_tensor(array, bounds=bounds, saturation=saturation)
            row, histogram = by_formula.row, by_formula.histogram
            edges: Any = by_formula.range
        else:
            row, histogram, edges = direct.row, direct.histogram, direct.edges
        self._filled[slot] += 1
        if again:
            if unlimited and row[HIGH] >= high:  # these are above, not in the last bin
                sample = values.reshape(-1)[:: _stride(values.numel(), values.shape[-1])]
                if before is not None:
                    sample = sample - before[:: _stride(values.numel(), values.shape[-1])]
                above = int((sample >= high).sum()) - int(torch.isposinf(sample).sum())
                histogram[-2:] += -above, above
            merge(self._statistics[slot], row)
            self._histograms[slot] += histogram
        else:
            self._statistics[slot], self._histograms[slot] = row, histogram
            self._ranges[slot] = edges

    def copy_of(self, parameter: torch.Tensor) -> torch.Tensor:
        """Return a copy of a parameter, for `measure` in this step; its memory is used again."""
        values = plain(parameter).reshape(-1)
        key = parameter.data_ptr()
        buffer = self._copies.get(key)
        if buffer is None or buffer.dtype != values.dtype or buffer.numel() != values.numel():
            buffer = self._copies[key] = torch.empty_like(values)
        self._copied.add(key)
        return buffer.copy_(values)

    def clear(self, slot: int) -> None:
        """Forget what was measured in this step."""
        if slot < len(self._filled):
            self._filled[slot] = 0

    def copy(self, source: int, target: int) -> None:
        """Let a slot have the statistics of another in this step."""
        self.reserve(max(source, target) + 1)
        for rows in (self._filled, self._statistics, self._histograms, self._ranges):
            rows[target] = rows[source]

    def divide(self, slot: int, scale: float | torch.Tensor) -> None:
        """Divide the values of a slot by a scale above 0."""
        self._statistics[slot, MEAN : HIGH + 1] /= float(scale)
        self._ranges[slot] /= float(scale)

    def see_units(
        self,
        row: Hashable,
        output: torch.Tensor,
        *,
        channels_first: bool = False,
        floor: float | None = None,
        saturation: tuple[float, float] | None = None,
    ) -> None:
        """Measure the units of a layer in its output (examples, *places, units)."""
        output = output.detach()
        output = output if output.dtype in FLOATS else output.float()
        if floor is not None:
            highest = self._highest_of(output, channels_first, floor)
            last = self._highest.get(row)
            if last is not None and last.shape == highest.shape:
                highest = np.fmax(last, highest)
            self._highest[row] = highest
        rows = unit_rows(output, channels_first=channels_first).contiguous()
        direct = self._direct(rows.dtype)
        if direct is None:
            self._units[row] = measure_units(rows.numpy(), floor=floor, saturation=saturation)
        else:
            self._units[row] = direct.units(rows, floor, saturation)

    def see_asymmetry(self, row: Hashable, weight: torch.Tensor) -> None:
        """Measure how unlike the units of a weight (units, inputs, *window) are."""
        rows = inputs_of_units(weight)
        if rows is None:
            return
        if rows.dtype not in FLOATS:
            rows = rows.float()
        rows = rows.t().contiguous()
        direct = self._direct(rows.dtype)
        value = float("nan") if direct is None else direct.asymmetry(rows.numpy())
        # The formula handles weights that are all zero or not finite.
        self._asymmetry[row] = value if np.isfinite(value) else asymmetry(rows.numpy())

    def signed_rows(self, x: torch.Tensor) -> Any:
        """Return which examples of the inputs (*examples, features) of a layer have one sign."""
        rows = some_rows(x).numpy() if x.dtype in FLOATS else some_rows(x).float().numpy()
        low, high = rows.min(axis=1), rows.max(axis=1)
        return ((low >= 0) & (high > 0)) | ((high <= 0) & (low < 0))

    def see_signs(self, row: Hashable, signed: Any, gradient: torch.Tensor) -> None:
        """Measure the share of weight gradients with one sign; `signed` is of `signed_rows`."""
        dz = some_rows(gradient)
        dz = (dz if dz.dtype in FLOATS else dz.float()).contiguous()
        direct = self._direct(dz.dtype)
        if direct is None:
            self._one_signed[row] = one_signed(signed[:, None].astype(np.float32), dz.numpy())
        else:
            self._one_signed[row] = direct.one_signed(signed, dz.numpy())

    def take(self, slots: int) -> Pending:
        """Return what was measured in the first `slots` slots, and begin a new step."""
        self.reserve(slots)
        empty = self._filled[:slots] == 0
        statistics = self._statistics[:slots].copy()
        histograms, ranges = self._histograms[:slots].copy(), self._ranges[:slots].copy()
        statistics[empty] = np.nan
        ranges[empty] = np.nan
        histograms[empty] = 0
        self._filled[:] = 0
        taken = Statistics(
            statistics, histograms, ranges,
            self._units, self._highest, self._asymmetry, self._one_signed,
        )  # fmt: skip
        self._forget()
        self._copies = {at: copy for at, copy in self._copies.items() if at in self._copied}
        self._copied.clear()
        return Pending(lambda: taken)

    def _direct(self, dtype: torch.dtype) -> "_Direct | None":
        """Return the kernels for a dtype; None where there are none."""
        if dtype not in self._kernels:
            name = str(dtype).removeprefix("torch.")
            compiled = kernels(name)
            self._kernels[dtype] = None if compiled is None else _Direct(name, compiled)
        return self._kernels[dtype]

    def _highest_of(self, output: torch.Tensor, channels_first: bool, floor: float) -> Floats:
        """Return the highest output of each unit; infinity stands for any above `floor`."""
        direct = self._direct(output.dtype)
        if direct is not None and output.is_contiguous() and not channels_first:
            rows = output.numpy().reshape(-1, output.shape[-1])
            highest = np.full(rows.shape[1], floor, rows.dtype)
            direct.rise(highest, rows, *rows.shape, floor)
            return highest.astype(np.float64)
        axis = 1 if channels_first else output.ndim - 1
        others = [at for at in range(output.ndim) if at != axis]
        return np.asarray(output.amax(others).double().numpy())


class _Direct:
    """The engine's kernels for one tensor at a time, of one dtype; not for several threads."""

    def __init__(self, dtype: str, compiled: Kernels) -> None:
        self._source = np.zeros((1, 5), np.int64)
        self._limits = np.full((1, 4), np.nan)
        self._left = np.ones(1, np.bool_)
        statistics, ranges = np.empty((1, len(FIELDS))), np.empty((1, 2))
        histograms = np.empty((1, BINS + 2), np.int64)
        self.row, self.histogram, self.edges = statistics[0], histograms[0], ranges[0]
        filled = statistics, ranges, histograms, self._left
        self._measure = compiled.bind("measure", self._source, self._limits, *filled, 0, 1)
        self._last: tuple[Bounds, tuple[float, float] | None] = UNBOUNDED, None
        self._units = compiled.bind("units")
        self._dtype = np.dtype(dtype)
        self.rise = compiled.bind("rise")
        self._asymmetry = compiled.bind("asymmetry")
        self._one_signed = compiled.bind("one_signed")

    def measure(
        self,
        values: torch.Tensor,
        before: torch.Tensor | None,
        bounds: Bounds,
        saturation: tuple[float, float] | None,
    ) -> bool:
        """Fill `row`, `histogram` and `edges`; return False if the values are not finite."""
        size = values.numel()
        if not size:
            return False
        stride = _stride(size, values.shape[-1])
        b = 0 if before is None else before.data_ptr()
        self._source[0] = values.data_ptr(), b, size, stride, -(-size // stride)
        if self._last != (bounds, saturation):
            limits = (*bounds, *(saturation or (None, None)))
            self._limits[0] = [np.nan if limit is None else limit for limit in limits]
            self._last = bounds, saturation
        self._measure()
        return not self._left[0]

    def units(
        self, rows: torch.Tensor, floor: float | None, saturation: tuple[float, float] | None
    ) -> Units:
        """Return what the units of contiguous rows (rows, units) did."""
        n, units = rows.shape
        mean, active, saturated = np.empty(units, self._dtype), np.empty(units), np.empty(units)
        low, high = saturation or (np.nan, np.nan)
        silent = np.nan if floor is None else floor
        self._units(mean, active, saturated, silent, low, high, n, units, units, rows.numpy())
        return Units(
            mean.astype(np.float32),
            None if floor is None else active,
            None if saturation is None else saturated,
            None,
        )

    def one_signed(self, signed: Host, dz: Host) -> float:
        """Return `engine.statistics.one_signed` of dL/dz (rows, units).

        A row of which all inputs have one sign is as good as one with a single input that is not 0.
        """
        n, units = dz.shape
        return float(self._one_signed(n, units, units, dz, 1, 1, signed.astype(self._dtype)))

    def asymmetry(self, rows: Host) -> float:
        """Return the asymmetry of a contiguous weight (inputs, units); NaN if it is 0."""
        inputs, units = rows.shape
        return float(self._asymmetry(inputs, units, units, rows))


@cache
def _stride(size: int, width: int) -> int:
    """Return the distance between the elements that a histogram counts, as the engine does."""
    stride = -(-size // HISTOGRAM_SAMPLE)
    while stride > 1 and gcd(stride, width) > 1:
        stride += 1
    return max(stride, 1)


def unit_rows(output: torch.Tensor, *, channels_first: bool) -> torch.Tensor:
    """Return some rows (rows, units) of a layer's output, a view where that works.

    About VALUES values of the output, of whole examples where these have places.
    """
    if channels_first:
        stride = -(-output.numel() // VALUES)
        return output[::stride].movedim(1, -1).flatten(0, -2)
    rows = output.reshape(-1, output.shape[-1])
    stride = -(-rows.numel() // VALUES)
    while output.ndim > 2 and gcd(stride, output.shape[-2]) > 1:
        stride += 1  # one that divides the length would see some of the places only
    return rows[::stride]


def inputs_of_units(weight: torch.Tensor) -> torch.Tensor | None:
    """Return every k-th input of each unit of a weight (units, inputs, *window), a view.

    None where units cannot be compared with each other.
    """
    if weight.ndim < 2 or weight.numel() == 0 or weight.is_complex():
        return None
    rows = weight.detach().reshape(len(weight), -1)
    return rows[:, :: row_stride(rows.shape[1], WEIGHTS // len(rows))]


def some_rows(values: torch.Tensor) -> torch.Tensor:
    """Return some rows of a tensor (*examples, features), evenly spread."""
    rows = values.detach().flatten(0, -2)
    return rows[:: row_stride(len(rows), EXAMPLES)]


def merge(into: Floats, other: Floats) -> None:
    """Merge two rows of statistics (FIELDS,), as if all values had been measured together.

    Chan et al. (1979), as `tensor_moments` does it for blocks.
    """
    ours, theirs = into[COUNT], other[COUNT]
    total = ours + theirs
    if not theirs:
        return
    if not ours:
        into[:] = other
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


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return the values of a tensor as float32 or float64, contiguous, with at least one axis.

    They share the tensor's memory where it is dense: the order of the values does not matter to
    their statistics.
    """
    tensor = stored_values(tensor)
    return dense(tensor if tensor.dtype in FLOATS else tensor.float())


def stored_values(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its graph; of a sparse one, the values that it stores.

    Complex numbers become pairs of real ones.
    """
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = (
            tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.values()
        )
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.resolve_neg()


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous tensor with the same values, in any order; a view where that works."""
    if tensor.is_contiguous():
        return tensor.reshape(1) if not tensor.ndim else tensor
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    view = tensor.permute(order)
    return view if view.is_contiguous() else tensor.contiguous()
