"""Statistics of tensors on a device, computed there: nothing waits for it until it has finished.

Each tensor that is measured adds a few numbers to a log on the device, and its values to the
histogram of its slot. At the end of a step all of it goes to the host in one copy, which the
recorder's thread waits for. Merging several measurements of one slot, and everything else that is
not a pass over a tensor, happens on the host.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any, Final

import numpy as np
import torch

from engine.statistics.arrays import HISTOGRAM_SAMPLE, Bounds
from engine.statistics.frames import BINS, FIELDS, WIDTH_IN_RMS, Floats, Units
from tuilab.adapters.scalars import Fetched, Scalars, as_float, floats, now
from tuilab.adapters.torch.tensors import (
    COUNT,
    FIRST_ROWS,
    HIGH,
    LOW,
    MEAN,
    NONFINITE,
    SATURATED,
    STD,
    UNBOUNDED,
    ZEROS,
    Pending,
    Statistics,
    dense,
    inputs_of_units,
    merge,
    some_rows,
    stored_values,
    unit_rows,
)

LARGE: Final = 1 << 22
"""Of a tensor with more elements, every k-th counts for mean, std and the shares."""
REACH: Final = 120
"""Magnitudes beyond 2^±REACH are counted alike: float32 ends soon after."""
LOGGED: Final = 11
"""Numbers of a measurement: scale, mean, variance, lowest, highest, low and high edge of the bins,
values, zeros, saturated values, and values that are not finite."""


@dataclass(frozen=True, slots=True)
class _Fill:
    """One measurement: where its numbers are, and what the host knows of it."""

    place: int  # in the log
    values: int  # of the tensor
    bounds: Bounds


@dataclass(slots=True)
class _Slot:
    """What was measured of one slot in this step."""

    row: int  # of the histograms
    fills: list[_Fill] = field(default_factory=list)
    scales: list[float | torch.Tensor] = field(default_factory=list)  # to divide by


class DeviceSlots:
    """Statistics of tensors on one device: the interface and the numbers of `HostSlots`.

    `take` returns what is not computed yet. Tensors with more than LARGE elements are sampled.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._float = torch.float32 if device.type == "mps" else torch.float64
        self._log = torch.empty((0, LOGGED), dtype=self._float, device=device)
        self._histograms = torch.empty((0, BINS + 3), dtype=torch.int32, device=device)
        self._one = torch.ones((), dtype=torch.int32, device=device)
        self._begin()

    def _begin(self) -> None:
        self._logged = 0
        self._slots: dict[int, _Slot] = {}
        self._used = 0  # rows of the histograms
        self._units: dict[Hashable, tuple[torch.Tensor, bool, bool]] = {}
        self._highest: dict[Hashable, list[torch.Tensor]] = {}
        self._asymmetry: dict[Hashable, torch.Tensor] = {}
        self._one_signed: dict[Hashable, torch.Tensor] = {}

    def filled(self, slot: int) -> bool:
        """Return whether a slot was filled in this step."""
        return slot in self._slots

    def measure(
        self,
        slot: int,
        tensor: torch.Tensor,
        *,
        bounds: Bounds = UNBOUNDED,
        saturation: tuple[float, float] | None = None,
        before: torch.Tensor | None = None,
    ) -> None:
        """Add the values of a tensor to a slot: see `HostSlots.measure`."""
        tensor = stored_values(tensor)
        if before is not None:
            tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32)) - before
        values = dense(tensor)
        size, width = values.numel(), values.shape[-1]
        values = values.reshape(-1)
        entry = self._slots.get(slot)
        first = entry is None
        if entry is None:
            entry = self._slots[slot] = _Slot(self._used)
            self._used += 1
        if not size:
            entry.fills.append(_Fill(-1, 0, bounds))
            return
        place = self._place()
        known = next((fill.place for fill in entry.fills if fill.place >= 0), None)
        edges = None if known is None else self._log[known, 5:7]
        numbers, sample = self._moments(values, width, bounds, saturation, edges)
        self._log[place] = numbers
        entry.fills.append(_Fill(place, size, bounds))
        self._count(entry.row, sample, self._log[place, 5:7], bounds, clear=first)

    def _moments(
        self,
        values: torch.Tensor,
        width: int,
        bounds: Bounds,
        saturation: tuple[float, float] | None,
        edges: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of a measurement (LOGGED,), and the values for the histogram."""
        low, high = torch.aminmax(values)
        values = values[:: _stride(values.numel(), width, LARGE)]
        if values.dtype not in (torch.float32, self._float):
            values = values.float()
        # Divided by a power of two near the largest, so that no square overflows or vanishes.
        scale = _power_above(torch.maximum(-low, high).float())
        scaled = values * (1 / scale).to(values.dtype)
        variance, mean = torch.var_mean(scaled, correction=0)
        nonzero, finite = torch.count_nonzero(values), torch.isfinite(values)
        sample = values[:: _stride(values.numel(), width, HISTOGRAM_SAMPLE)].to(self._float)
        if edges is None:
            wide = scale.to(self._float)
            reach = torch.sqrt(mean * mean + variance).to(self._float) * wide
            if None in bounds:
                usable = torch.where(torch.isfinite(sample), sample, 0) / wide
                squares = (usable * usable).sum() / torch.isfinite(sample).sum()
                reach = torch.where(torch.isfinite(reach), reach, squares.sqrt() * wide)
            power = _power_above((WIDTH_IN_RMS * reach).float()).to(self._float)
            edges = torch.stack([
                -power if bounds[0] is None else torch.full_like(power, bounds[0]),
                power if bounds[1] is None else torch.full_like(power, bounds[1]),
            ])  # fmt: skip
        saturated = torch.zeros_like(nonzero)
        if saturation is not None:
            saturated = torch.count_nonzero((values <= saturation[0]) | (values >= saturation[1]))
        floats = [scale, mean, variance, low, high]
        counted = torch.full_like(nonzero, values.numel())
        counts = [counted, counted - nonzero, saturated, counted - torch.count_nonzero(finite)]
        parts = torch.stack([number.to(self._float) for number in floats])
        return torch.cat([parts, edges, torch.stack(counts).to(self._float)]), sample

    def _count(
        self, row: int, sample: torch.Tensor, edges: torch.Tensor, bounds: Bounds, *, clear: bool
    ) -> None:
        """Count some values in the histogram of a slot; those that are not finite come last."""
        if row >= len(self._histograms):
            more = max(FIRST_ROWS, 2 * len(self._histograms))
            grown = self._histograms.new_zeros((more, BINS + 3))
            grown[: len(self._histograms)] = self._histograms
            self._histograms = grown
        histogram = self._histograms[row]
        if clear:
            histogram.zero_()
        scale = BINS / (edges[1] - edges[0])
        # A value exactly on a natural bound (tanh at 1) belongs into the last bin, not above it.
        ceiling = BINS + 1 - (0.5 if bounds[1] is not None else 0.0)
        cells = torch.clamp(sample * scale + (1 - edges[0] * scale), 0, ceiling)
        cells = torch.where(torch.isfinite(sample), cells, BINS + 2).long()
        histogram.scatter_add_(0, cells, self._one.expand(len(cells)))

    def _place(self) -> int:
        if self._logged >= len(self._log):
            more = max(FIRST_ROWS, 2 * len(self._log))
            grown = self._log.new_empty((more, LOGGED))
            grown[: len(self._log)] = self._log
            self._log = grown
        self._logged += 1
        return self._logged - 1

    def copy_of(self, parameter: torch.Tensor) -> torch.Tensor:
        """Return a copy of a parameter, for `measure` in this step."""
        values = stored_values(parameter)
        return values.to(torch.promote_types(values.dtype, torch.float32), copy=True)

    def clear(self, slot: int) -> None:
        """Forget what was measured in this step."""
        self._slots.pop(slot, None)

    def copy(self, source: int, target: int) -> None:
        """Let a slot have the statistics of another in this step."""
        if (entry := self._slots.get(source)) is not None:
            self._slots[target] = _Slot(entry.row, [*entry.fills], [*entry.scales])

    def divide(self, slot: int, scale: float | torch.Tensor) -> None:
        """Divide the values of a slot by a scale above 0."""
        if (entry := self._slots.get(slot)) is not None:
            if isinstance(scale, torch.Tensor):
                scale = scale.detach().clone()
            entry.scales.append(scale)

    def see_units(
        self,
        row: Hashable,
        output: torch.Tensor,
        *,
        channels_first: bool = False,
        floor: float | None = None,
        saturation: tuple[float, float] | None = None,
    ) -> None:
        """Measure the units of a layer: see `HostSlots.see_units`."""
        output = output.detach()
        axis = 1 if channels_first else output.ndim - 1
        if floor is not None:
            others = [at for at in range(output.ndim) if at != axis]
            highest = output.amax(others).float()
            if (seen := self._highest.setdefault(row, [])) and seen[0].shape != highest.shape:
                seen.clear()
            seen.append(highest)
        rows = unit_rows(output, channels_first=channels_first).float()
        parts = [rows.mean(0)]
        if floor is not None:
            parts.append((rows > floor).float().mean(0))
        if saturation is not None:
            parts.append(((rows <= saturation[0]) | (rows >= saturation[1])).float().mean(0))
        self._units[row] = torch.stack(parts), floor is not None, saturation is not None

    def see_asymmetry(self, row: Hashable, weight: torch.Tensor) -> None:
        """Measure how unlike the units of a weight are: see `engine.statistics.asymmetry`."""
        if (rows := inputs_of_units(weight)) is None:
            return
        rows = rows.to(self._float)
        rows = rows / _power_above(rows.abs().amax().float()).to(self._float)
        differences = rows - rows[:1]  # equal units leave exactly nothing
        sums = differences.sum(0)
        spread = (differences * differences).sum() - (sums * sums).sum() / len(rows)
        squares = (rows * rows).sum()
        share = torch.sqrt(torch.clamp(spread, min=0) / squares)
        self._asymmetry[row] = torch.where(squares == 0, torch.zeros_like(share), share)

    def signed_rows(self, x: torch.Tensor) -> torch.Tensor:
        """Return which examples of the inputs (*examples, features) of a layer have one sign."""
        low, high = torch.aminmax(some_rows(x), dim=1)
        return ((low >= 0) & (high > 0)) | ((high <= 0) & (low < 0))

    def see_signs(self, row: Hashable, signed: torch.Tensor, gradient: torch.Tensor) -> None:
        """Measure the share of weight gradients with one sign; `signed` is of `signed_rows`."""
        pairs = torch.count_nonzero(some_rows(gradient), dim=1)
        self._one_signed[row] = (pairs * signed).sum() / pairs.sum()

    def take(self, slots: int) -> Pending:
        """Return what was measured in the first `slots` slots, and begin a new step."""
        entries = {at: entry for at, entry in self._slots.items() if at < slots}
        units, asymmetry, signs = self._units, self._asymmetry, self._one_signed
        highest = self._highest
        scales = {
            id(scale): scale
            for entry in entries.values()
            for scale in entry.scales
            if isinstance(scale, torch.Tensor)
        }
        parts = {
            "log": self._log[: self._logged],
            "histograms": self._histograms[: self._used],
            **{f"units {at}": values for at, (values, _, _) in enumerate(units.values())},
            **{f"asymmetry {at}": value for at, value in enumerate(asymmetry.values())},
            **{f"signs {at}": value for at, value in enumerate(signs.values())},
            **{
                f"highest {at} {n}": value
                for at, values in enumerate(highest.values())
                for n, value in enumerate(values)
            },
            **{f"scale {at}": value for at, value in enumerate(scales.values())},
        }
        fetched = Fetch([*parts.values()])
        names = [*parts]
        self._begin()

        def result() -> Statistics:
            numbers = dict(zip(names, fetched.result(), strict=True))
            by_scale = {at: float(numbers[f"scale {n}"]) for n, at in enumerate(scales)}
            table = _tables(slots, entries, numbers["log"], numbers["histograms"], by_scale)
            return Statistics(
                *table,
                units={
                    row: _units(numbers[f"units {at}"], active, saturated)
                    for at, (row, (_, active, saturated)) in enumerate(units.items())
                },
                highest={
                    row: np.fmax.reduce(
                        [numbers[f"highest {at} {n}"].astype(np.float64) for n in range(len(rest))]
                    )
                    for at, (row, rest) in enumerate(highest.items())
                },
                asymmetry={row: float(numbers[f"asymmetry {at}"])
                           for at, row in enumerate(asymmetry)},
                one_signed={row: float(numbers[f"signs {at}"]) for at, row in enumerate(signs)},
            )  # fmt: skip

        return Pending(result, fetched.ready)


def _tables(
    slots: int,
    entries: Mapping[int, _Slot],
    log: Floats,
    histograms: Any,
    scales: Mapping[int, float],
) -> tuple[Floats, Any, Floats]:
    """Return statistics, histograms and ranges by slot, from what came from the device."""
    statistics = np.full((slots, len(FIELDS)), np.nan)
    ranges = np.full((slots, 2), np.nan)
    counts = np.zeros((slots, BINS + 2), np.int64)
    for at, entry in entries.items():
        row = statistics[at]
        row[COUNT] = row[NONFINITE] = 0
        for fill in entry.fills:
            if fill.place >= 0:
                merge(row, _row(log[fill.place].astype(np.float64), fill.values))
        edges = next((log[fill.place, 5:7] for fill in entry.fills if fill.place >= 0), None)
        low, high = entry.fills[0].bounds
        if edges is None:
            ranges[at] = -1 if low is None else low, 1 if high is None else high
        else:
            ranges[at], counts[at] = edges, histograms[entry.row, : BINS + 2]
        for scale in entry.scales:
            by = scales[id(scale)] if isinstance(scale, torch.Tensor) else scale
            row[MEAN : HIGH + 1] /= by
            ranges[at] /= by
    return statistics, counts, ranges


def _row(numbers: Floats, values: int) -> Floats:
    """Return the statistics (FIELDS,) of a tensor with that number of `values`, from its log."""
    scale, mean, variance, low, high, _, _, seen, zeros, saturated, nonfinite = numbers.tolist()
    row = np.empty(len(FIELDS))
    row[COUNT], row[MEAN], row[LOW], row[HIGH] = values, mean * scale, low, high
    equal = low == high and np.isfinite(low)  # which have no rounding noise
    row[STD] = 0.0 if equal else np.sqrt(variance) * scale
    row[ZEROS], row[SATURATED] = zeros / seen, saturated / seen
    # The lowest and the highest are of all values, and show what a sample may have missed.
    row[NONFINITE] = max(nonfinite, float(not np.isfinite(low - high)))
    return row


def _units(numbers: Any, active: bool, saturated: bool) -> Units:
    rows = iter(numbers)
    mean = next(rows).astype(np.float32)
    shares = [next(rows).astype(np.float64) if there else None for there in (active, saturated)]
    return Units(mean, shares[0], shares[1], None)


def _power_above(x: torch.Tensor) -> torch.Tensor:
    """Return the smallest power of two that is not below a float32, within 2^±REACH.

    1 for 0, and for what is not finite.
    """
    mantissa, exponent = torch.frexp(x)
    exponent = torch.clamp(exponent - (mantissa == 0.5).int(), -REACH, REACH)
    power = ((exponent + 127) << 23).to(torch.int32).view(torch.float32)  # exact on any device
    return torch.where(torch.isfinite(x) & (x > 0), power, torch.ones_like(power))


def _stride(size: int, width: int, at_most: int) -> int:
    """Return the distance of the elements to be taken, no more than `at_most`.

    One that divides the length of a row would see some of the columns only.
    """
    stride = -(-size // at_most)
    while stride > 1 and gcd(stride, width) > 1:
        stride += 1
    return max(stride, 1)


class Fetch:
    """Tensors on their way to the host, in one copy a device; nothing waits for them."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._described = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]
        by_device: dict[torch.device, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_device.setdefault(tensor.device, []).append(tensor)
        self._events: list[Any] = []
        self._copies = {device: self._copy(device, parts) for device, parts in by_device.items()}

    def _copy(self, device: torch.device, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        packed = torch.cat([t.detach().contiguous().reshape(-1).view(torch.uint8) for t in tensors])
        if device.type == "cpu":
            return packed
        module = torch.get_device_module(device)
        pinned = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=device.type != "mps")
        pinned.copy_(packed, non_blocking=True)
        with module.device(device) if hasattr(module, "device") else _Nothing():
            event = module.Event()
            event.record()
        self._events.append(event)
        return pinned

    def ready(self) -> bool:
        """Return whether all of it has arrived."""
        return all(event.query() for event in self._events)

    def result(self) -> list[Any]:
        """Return the tensors as NumPy arrays; once they are `ready`."""
        at = dict.fromkeys(self._copies, 0)
        arrays = []
        for shape, dtype, device in self._described:
            count = shape.numel()
            size = count * dtype.itemsize
            piece = self._copies[device][at[device] : at[device] + size]
            at[device] += size
            # A copy, because a tensor must begin at a multiple of the size of its elements.
            arrays.append(piece.clone().view(dtype).reshape(shape).float().numpy()
                          if dtype in (torch.float16, torch.bfloat16)
                          else piece.clone().view(dtype).reshape(shape).numpy())  # fmt: skip
        return arrays


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def fetch(rows: Sequence[Scalars]) -> Fetched:
    """Begin to copy the tensors among the numbers of some steps."""
    waiting = {
        id(value): value
        for row in rows
        for value in row.values()
        if isinstance(value, torch.Tensor) and not value.is_cpu
    }
    if not waiting:
        return floats(rows)
    fetched = Fetch([*waiting.values()])

    def numbers() -> list[dict[str, float]]:
        arrived = dict(zip(waiting, fetched.result(), strict=True))
        return [
            {name: as_float(arrived.get(id(value), value)) for name, value in row.items()}
            for row in rows
        ]

    return Fetched(numbers, fetched.ready)


def sum_of(losses: Sequence[torch.Tensor]) -> Any:
    """Return the sum of losses: a number, or a tensor where they are on one device."""
    devices = {loss.device for loss in losses}
    if len(devices) == 1 and not losses[0].is_cpu:
        return now(sum(loss.sum() for loss in losses))
    return sum(loss.item() if loss.numel() == 1 else float(loss.sum()) for loss in losses)
