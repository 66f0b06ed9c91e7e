"""The statistics of all layers in three launches, and the snapshot made from them.

They are the same as those of `engine.training.probes`, in one buffer that one copy transfers. The
update is measured as the difference between the weights after and before it. The update does not
change any other tensor, so everything can be measured at the end of the step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.backends.base import Array, Backend, Host
from engine.cuda_graph.launcher import Launcher
from engine.cuda_graph.launches import THREADS, ceil_div
from engine.cuda_graph.plan import EagerCall, Item, Launch
from engine.errors import NotPlannedError
from engine.network import BoundNetwork
from engine.statistics.frames import BINS, FIELDS, TENSORS, Floats, Snapshot, with_update_ratio
from engine.statistics.histogram import sample_stride
from engine.statistics.symmetry import EXAMPLES, WEIGHTS, row_stride
from engine.statistics.tensor_statistics import TensorSource
from engine.training.probes import Probes

PART: Final = 8192  # elements that a block measures, as in kernels/statistics.cu
MOMENTS: Final = 7  # numbers for each part, as in kernels/statistics.cu
UNIT_ROWS: Final = 8
"""Rows of a weight (asymmetry) or examples (one-signed gradients) that a block measures, one warp
for each. The host adds up the blocks."""
ASYMMETRY, ONE_SIGNED = range(2)


def measured(probes: Probes) -> list[TensorSource]:
    """Return the tensors of all layers, in the order of the rows of a snapshot's table."""
    rows = []
    for layer in probes.layers:
        tensors, f = dict(zip(TENSORS, layer.tensors, strict=True)), layer.activation
        before = tensors["update"]  # holds a copy of the weights from before the update
        rows += [
            TensorSource(tensors["activation"], None, f.bounds, f.saturated),
            *(TensorSource(tensors[name]) for name in ("pre_activation", "activation_grad")),
            TensorSource(before),
            TensorSource(tensors["weight_grad"]),
            TensorSource(tensors["weight"], before),
        ]
    if not all(row.a.flags.c_contiguous for row in rows):
        raise NotPlannedError("a tensor of the statistics is not a contiguous array")
    return rows


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one buffer with the statistics of `tensors` and of `blocks` of units."""

    tensors: int
    blocks: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Sizes of table, ranges, unit statistics and histograms, in words of 8 bytes."""
        n = self.tensors
        return n * len(FIELDS), n * 2, self.blocks * 2, n * (BINS + 2)

    def split(self, words: Array) -> tuple[Array, Array, Array, Array]:
        """Return views of these four; the last as int64."""
        table, ranges, units, histograms = np.cumsum((0, *self.sizes))[:-1].tolist()
        return (
            words[table:ranges],
            words[ranges:units],
            words[units:histograms],
            words[histograms:].view(np.int64),
        )


def _parts(rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each block and its number of rows."""
    for first in range(0, rows, UNIT_ROWS):
        yield first, min(UNIT_ROWS, rows - first)


class Statistics:
    """The launches that measure the layers of `probes`, and their results."""

    def __init__(self, probes: Probes, network: BoundNetwork, launcher: Launcher) -> None:
        self._probes, self._network, self._launcher = probes, network, launcher
        self._backend: Backend = network.backend
        self._rows = measured(probes)
        self._jobs = list(self._unit_jobs())
        self.layout = Layout(len(self._rows), len(self._jobs))
        self.words = self._backend.empty((sum(self.layout.sizes),), np.float64)
        """The measured numbers, on the device."""

    def before_update(self) -> Item:
        """Return the item that copies the weights before the update."""
        probes, store, xp = self._probes, self._network.store, self._backend.xp
        return EagerCall("weights → before", lambda: xp.copyto(probes.before, store.values))

    def after_update(self) -> Iterator[Item]:
        """Yield the launches that measure everything into `words`."""
        to_device, pointer = self._backend.to_device, self._launcher.pointer
        table, ranges, units, histograms = self.layout.split(self.words)
        rows: list[list[int]] = []
        parts: list[list[int]] = []
        sampled: list[list[int]] = []
        for at, row in enumerate(self._rows):
            count, stride = row.a.size, sample_stride(row.a)
            samples = ceil_div(count, stride)
            b = 0 if row.b is None else pointer(row.b)
            in_row = ceil_div(count, PART)
            rows.append([pointer(row.a), b, count, stride, samples, len(parts), in_row])
            parts += [[at, part] for part in range(in_row)]
            sampled += [[at, part] for part in range(ceil_div(samples, PART))]
        tensors = to_device(np.array(rows, np.int64))
        bounds = to_device(np.array([row.limits for row in self._rows]), np.float64)
        partial = self._backend.empty((len(parts) * MOMENTS,), np.float64)
        in_parts, in_sampled = (
            to_device(np.array(blocks, np.int32)) for blocks in (parts, sampled)
        )
        moments = (tensors, bounds, in_parts, partial, histograms)
        yield Launch("moments", (len(parts),), (THREADS,), moments)
        counted = (tensors, bounds, in_sampled, partial, table, ranges, histograms)
        yield Launch("histograms", (len(sampled),), (THREADS,), counted)
        jobs = to_device(np.array([job[1:] for job in self._jobs], np.int64))
        yield Launch("unit_statistics", (len(self._jobs),), (THREADS,), (jobs, units))

    def _unit_jobs(self) -> Iterator[list[int]]:
        """Yield the layer of each block of `unit_statistics`, followed by its row of `jobs`."""
        pointer = self._launcher.pointer
        for layer, probed in enumerate(self._probes.layers):
            weight = probed.tensors[TENSORS.index("update")]
            inputs, units = weight.shape
            stride = row_stride(inputs, WEIGHTS // units)
            rows = ceil_div(inputs, stride)
            for first, count in _parts(rows):
                start = pointer(weight[first * stride :])
                yield [layer, ASYMMETRY, start, units, 0, 0, stride, count]
        for layer, inputs_of, gradient in self._probes.affine:
            x = inputs_of()
            stride = row_stride(len(x), EXAMPLES)
            for first, count in _parts(ceil_div(len(x), stride)):
                at = first * stride
                ends = pointer(x[at:]), x.shape[1], pointer(gradient[at:]), gradient.shape[1]
                yield [layer, ONE_SIGNED, *ends, stride, count]

    def snapshot(self, words: Host, step: int, epoch: float, dead_fraction: Floats) -> Snapshot:
        """Return the snapshot of a step from its `words`, copied to the host."""
        table, ranges, units, histograms = self.layout.split(words)
        shape = len(self._probes.layers), len(TENSORS)
        asymmetry, one_signed = self._of_units(units.reshape(-1, 2))
        return with_update_ratio(
            Snapshot(
                step,
                epoch,
                table.reshape(*shape, len(FIELDS)).copy(),
                histograms.reshape(*shape, BINS + 2).copy(),
                ranges.reshape(*shape, 2).copy(),
                dead_fraction,
                np.empty(shape[0]),
                asymmetry,
                one_signed,
            )
        )

    def _of_units(self, sums: Floats) -> tuple[Floats, Floats]:
        """Return asymmetry and share of one-signed pairs of each layer, from sums by block."""
        layers, kinds = np.array([job[:2] for job in self._jobs]).T
        shares = []
        for kind, empty in ((ASYMMETRY, 0.0), (ONE_SIGNED, np.nan)):
            of_kind = kinds == kind
            totals = np.zeros((len(self._probes.layers), 2))
            np.add.at(totals, layers[of_kind], sums[of_kind])
            part, whole = totals.T
            with np.errstate(invalid="ignore", divide="ignore"):
                shares.append(np.where(whole == 0, empty, np.maximum(part, 0) / whole))
        return np.sqrt(shares[0]), shares[1]
