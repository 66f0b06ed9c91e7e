"""What is measured at each layer, and how: read-only, so that training never depends on it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.activations import Activation
from engine.backend import Array, Host
from engine.frames import BINS, FIELDS, TENSORS, Floats, Snapshot, Units
from engine.network import BoundNetwork
from engine.unit_statistics import EXAMPLES, WEIGHTS, asymmetry, every_kth_row, one_signed
from engine.units import UnitProbe

BLOCK: Final = 1 << 17
"""Elements measured at a time: half a megabyte of float32, which stays in the L2 cache, and so many
that the calls themselves do not count."""
HISTOGRAM_SAMPLE: Final = 1 << 15
"""A histogram of a larger tensor counts every k-th element; the moments count all of them."""
SQUARABLE: Final = 1e-12, 1e12
"""Values whose largest is between these are squared and summed in their own precision: float32 ends
at 1e±38, so beyond them the variance would become 0 or infinite while the values are neither."""
MEAN_SHARE: Final = 0.5
"""Of Σ x², what may be the mean's for the variance to be what is left: one bit is lost at most."""
WIDTH_IN_RMS: Final = 2.5
"""A histogram without natural bounds reaches at least so many root mean squares from 0."""


class Meter:
    """Measures one tensor at a time, with scratch space of its own."""

    def __init__(self, dtype: np.dtype[np.float64] | np.dtype[np.float32]) -> None:
        self._scratch = np.empty(BLOCK, dtype)
        self._ones = np.ones(BLOCK, dtype)
        self._flags = np.empty(BLOCK, np.bool_)
        self._bins = np.empty(HISTOGRAM_SAMPLE, np.uint8)

    def moments(self, values: Host, saturated: tuple[float, float] | None, row: Floats) -> None:
        """Fill `row` (FIELDS) from `values` of any shape.

        Each block is squared about 0, or where its mean is large beside its spread about that, and
        blocks are merged in float64 (Chan et al., 1979), so that no mean ruins the variance.
        """
        flat = values.reshape(-1)
        count, mean, m2 = 0, 0.0, 0.0
        low, high, zeros, saturation = np.inf, -np.inf, 0, 0
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            least, most = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
            flags = self._flags[: len(block)]
            block_mean, block_m2 = self._centred(block, max(-least, most))
            shift = block_mean - mean
            total = count + len(block)
            m2 += block_m2 + shift * shift * count * len(block) / total
            mean += shift * len(block) / total
            count = total
            low, high = min(low, least), max(high, most)
            if least <= 0 <= most:
                zeros += int(np.count_nonzero(np.equal(block, 0, out=flags)))
            if saturated is not None:
                saturation += int(np.count_nonzero(np.less_equal(block, saturated[0], out=flags)))
                saturation += int(
                    np.count_nonzero(np.greater_equal(block, saturated[1], out=flags))
                )
        if not np.isfinite(mean):  # min and max of Python drop NaN: whether there is one, mean says
            low, high = float(np.minimum.reduce(flat)), float(np.maximum.reduce(flat))
        nonfinite = 0 if np.isfinite(mean) else count - np.count_nonzero(np.isfinite(flat))
        std = np.sqrt(m2 / count) if low != high else 0.0  # equal values have no rounding noise
        row[:] = (count, mean, std, low, high, zeros / count, saturation / count, nonfinite)

    def _centred(self, block: Host, largest: float) -> tuple[float, float]:
        """Return the mean of `block`, and Σ (x − mean)²; `largest` is its largest magnitude."""
        if largest == 0:
            return 0.0, 0.0
        ones, scratch = self._ones[: len(block)], self._scratch[: len(block)]
        if not SQUARABLE[0] < largest < SQUARABLE[1]:
            block = block.astype(np.float64)  # rare: a signal that vanished or exploded
            ones, scratch = ones.astype(np.float64), np.empty_like(block)
        mean = float(np.dot(block, ones)) / len(block)  # twice as fast as a sum
        squares = float(np.dot(block, block))
        if (of_mean := mean * mean * len(block)) <= MEAN_SHARE * squares:
            return mean, squares - of_mean
        np.subtract(block, mean, out=scratch)
        return mean, float(np.dot(scratch, scratch))

    def histogram(
        self, values: Host, bounds: tuple[float | None, float | None], row: Floats
    ) -> tuple[Host, tuple[float, float]]:
        """Return counts (1 + BINS + 1: below, the bins, above) and the range of the bins.

        `row` holds the moments of `values`. A bound that is not given is a power of two, so that
        ranges of different tensors nest and can be brought to one axis by merging bins.
        """
        sample = every_kth(values)
        rms = float(np.hypot(row[FIELDS.index("mean")], row[FIELDS.index("std")]))
        if row[FIELDS.index("nonfinite")]:
            sample = sample[np.isfinite(sample)]
            rms = float(np.sqrt(np.mean(np.square(sample, dtype=np.float64)))) if len(sample) else 0
        low, high = _range(bounds, rms)
        # What lies exactly on a natural bound (tanh at 1) belongs into the last bin, not above it.
        ceiling = BINS + 1 - (0.5 if bounds[1] is not None else 0.0)
        scale = BINS / (high - low)
        bins, cells = self._bins[: len(sample)], self._scratch[: len(sample)]
        np.multiply(sample, scale, out=cells)
        np.add(cells, 1 - low * scale, out=cells)
        least, most = row[FIELDS.index("min")], row[FIELDS.index("max")]
        if bounds[1] is not None or not low < least <= most < high:
            np.clip(cells, 0, ceiling, out=cells)
        np.copyto(bins, cells, casting="unsafe")
        return np.bincount(bins, minlength=BINS + 2), (low, high)


def every_kth(values: Host) -> Host:
    """Return a flat view of at most HISTOGRAM_SAMPLE elements, spread over all rows and columns."""
    return values.reshape(-1)[:: stride_of(values)]


def stride_of(values: Array) -> int:
    """Return how far apart the elements are that a histogram counts."""
    stride = -(-int(values.size) // HISTOGRAM_SAMPLE)
    while stride > 1 and gcd(stride, values.shape[-1]) > 1:
        stride += 1  # a stride that divides the row length would see some columns only
    return max(stride, 1)


def _range(bounds: tuple[float | None, float | None], rms: float) -> tuple[float, float]:
    low, high = bounds
    reach = WIDTH_IN_RMS * rms
    usable = np.isfinite(reach) and reach > 0
    power = 2.0 ** float(np.clip(np.ceil(np.log2(reach)), -120, 120)) if usable else 1.0
    return (-power if low is None else low), (power if high is None else high)


@dataclass(frozen=True, slots=True)
class Probed:
    """The arrays of one layer, in the order of TENSORS, and how to look at them."""

    tensors: Sequence[Array]
    activation: Activation


class Probes:
    """Measures a bound network; `start` before an update and `finish` after it."""

    def __init__(
        self, network: BoundNetwork, score_gradient: Array, batch: Callable[[], Array]
    ) -> None:
        """`batch` returns the inputs of the last forward pass (batch, *features)."""
        self._backend, self._store = network.backend, network.store
        self.before = network.backend.empty(network.store.values.shape)
        update_views = network.store.views(self.before)
        groups = network.network.groups(network.batch_shape[1:])
        self.layers: list[Probed] = []
        self.affine: list[tuple[int, Callable[[], Array], Array]] = []
        """Of the affine layers: their number, what goes in, and dL/dz of what comes out."""
        for index, group in enumerate(groups):
            bound = network.bound
            if group.info.kind == "linear":
                gradient = network.output_gradient(group.weight, score_gradient)
                inputs = partial(lambda at: network.input_of(at, batch()), group.weight)
                self.affine.append((index, inputs, gradient))
            self.layers.append(
                Probed(
                    (
                        bound[group.output].output,
                        bound[group.pre_activation].output,
                        network.output_gradient(group.output, score_gradient),
                        network.store.value_views[group.weight]["weight"],
                        network.store.gradient_views[group.weight]["weight"],
                        update_views[group.weight]["weight"],
                    ),
                    group.activation,
                )
            )
        self._meter = Meter(network.backend.dtype)
        self.silent = SilentUnits(network)
        self._unit_probe = UnitProbe(network)
        self._units: list[Units | None] = []
        shape = (len(groups), len(TENSORS))
        self._statistics = np.empty((*shape, len(FIELDS)))
        self._histograms = np.empty((*shape, BINS + 2), np.int64)
        self._ranges = np.tile([-1.0, 1.0], (*shape, 1))
        self._asymmetry = np.empty(len(groups))
        self._one_signed = np.full(len(groups), np.nan)

    def start(self) -> None:
        """Measure all but the update, with the weights that it will change."""
        self._backend.xp.copyto(self.before, self._store.values)
        for position in range(len(TENSORS) - 1):
            self._measure(position)
        self._measure_units()
        self._units = self._unit_probe.measure()

    def finish(self, step: int, epoch: float, *, updated: bool = True) -> Snapshot:
        """Measure the update that was made since `start`, if one was, and return everything."""
        if updated:
            self._backend.xp.subtract(self._store.values, self.before, out=self.before)
            self._measure(TENSORS.index("update"))
        else:
            self._statistics[:, TENSORS.index("update")] = np.nan
            self._histograms[:, TENSORS.index("update")] = 0
        return with_update_ratio(
            Snapshot(
                step,
                epoch,
                self._statistics.copy(),
                self._histograms.copy(),
                self._ranges.copy(),
                self.silent.fraction.copy(),
                np.empty(len(self.layers)),
                self._asymmetry.copy(),
                self._one_signed.copy(),
                [
                    None if units is None else replace(units, dead=self.silent.dead(index))
                    for index, units in enumerate(self._units)
                ],
            )
        )

    def _measure(self, position: int) -> None:
        is_activation = TENSORS[position] == "activation"
        for index, layer in enumerate(self.layers):
            values = self._backend.to_host(layer.tensors[position])
            bounds = layer.activation.bounds if is_activation else (None, None)
            row = self._statistics[index, position]
            with np.errstate(over="ignore", invalid="ignore"):  # of tensors that are not finite
                saturated = layer.activation.saturated if is_activation else None
                self._meter.moments(values, saturated, row)
                histogram, edges = self._meter.histogram(values, bounds, row)
            self._histograms[index, position] = histogram
            self._ranges[index, position] = edges

    def _measure_units(self) -> None:
        weight = TENSORS.index("weight")
        for index, layer in enumerate(self.layers):
            values = layer.tensors[weight]
            rows = every_kth_row(values, WEIGHTS // values.shape[1])
            self._asymmetry[index] = asymmetry(self._backend.to_host(rows))
        for index, inputs, gradient in self.affine:
            x, dz = (every_kth_row(values, EXAMPLES) for values in (inputs(), gradient))
            self._one_signed[index] = one_signed(
                self._backend.to_host(x), self._backend.to_host(dz)
            )


def with_update_ratio(snapshot: Snapshot) -> Snapshot:
    """Fill ‖ΔW‖ / ‖W‖ of a snapshot from its table, and return it."""
    weight, update = snapshot.field("weight", "norm"), snapshot.field("update", "norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(update, weight, out=snapshot.update_ratio)
    return snapshot


@dataclass(frozen=True, slots=True)
class _Watched:
    """A layer whose units can fall silent."""

    index: int  # from 0
    activation: Activation
    floor: float
    output: Array  # (examples, units)
    highest: Array  # (units,): since the epoch began
    row: Array  # scratch
    dead: npt.NDArray[np.bool_]  # (units,): silent over the last whole epoch

    def alike(self, other: "_Watched") -> bool:
        """Tell whether the units of both are as many, and of one kind."""
        same_shape: bool = self.highest.shape == other.highest.shape
        return same_shape and self.activation == other.activation


class SilentUnits:
    """Follows, through every step of an epoch, which units never rise above their floor.

    `fraction` (layers,) is the dead fraction of the last whole epoch; 0 for a non-linearity whose
    units cannot die, NaN until the first epoch is complete. Lecture 6, "dead ReLUs".
    """

    def __init__(self, network: BoundNetwork) -> None:
        self._xp, self._to_host = network.backend.xp, network.backend.to_host
        groups = network.network.groups(network.batch_shape[1:])
        self.fraction = np.zeros(len(groups))
        self._watched: list[_Watched] = []
        for index, group in enumerate(groups):
            floor = group.activation.silent_at
            if floor is not None:
                output = network.bound[group.output].output
                units = output.shape[-1:]  # a unit of a convolution is a channel
                highest, row = (network.backend.full(units, floor) for _ in range(2))
                output = output.reshape(-1, *units)
                dead = np.zeros(units, np.bool_)
                self._watched.append(
                    _Watched(index, group.activation, floor, output, highest, row, dead)
                )
                self.fraction[index] = np.nan

    @property
    def watched(self) -> list[tuple[Array, Array]]:
        """Of each layer whose units can die: its output (rows, units), and the highest so far."""
        return [(each.output, each.highest) for each in self._watched]

    @property
    def watching(self) -> bool:
        """Whether any unit of this network can die."""
        return bool(self._watched)

    @property
    def state(self) -> dict[str, Array]:
        """What a checkpoint must save: what is told, and the highest of this epoch by layer."""
        highest = {f"highest{each.index}": each.highest for each in self._watched}
        dead = {f"dead{each.index}": each.dead for each in self._watched}
        return {"fraction": self.fraction, **highest, **dead}

    def dead(self, layer: int) -> npt.NDArray[np.bool_] | None:
        """Return which units (units,) of a layer (from 0) were silent over the last whole epoch.

        None where units cannot die, or no epoch is complete.
        """
        masks = (each.dead for each in self._watched if each.index == layer)
        return None if np.isnan(self.fraction[layer]) else next((m.copy() for m in masks), None)

    def update(self) -> None:
        """Take in the activations of the step just made."""
        for each in self._watched:
            self._xp.max(each.output, axis=0, out=each.row)
            self._xp.maximum(each.highest, each.row, out=each.highest)

    def take_over(self, old: "SilentUnits", anew: Collection[int]) -> None:
        """Take what `old` has seen of layers with the same units, but for those `anew` (from 1)."""
        seen = {each.index: each for each in old._watched}
        for each in self._watched:
            before = seen.get(each.index)
            alike = before is not None and before.alike(each)
            if before is not None and alike and each.index + 1 not in anew:
                self.fraction[each.index] = old.fraction[each.index]
                self._xp.copyto(each.highest, before.highest)
                each.dead[...] = before.dead

    def end_epoch(self) -> None:
        """Set `fraction` from what was seen since the last call, and begin anew."""
        for each in self._watched:
            each.dead[...] = self._to_host(each.highest) <= each.floor
            self.fraction[each.index] = float(np.mean(each.dead))
            each.highest.fill(each.floor)
