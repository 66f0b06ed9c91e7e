"""Statistics of a network's layers: what ties a bound network to `engine.statistics`.

Probes only read, so training never depends on them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from typing import Final

import numpy as np

from engine.activations import Activation
from engine.backends.base import Array, Host
from engine.backends.threads import ALONE
from engine.network import BoundNetwork
from engine.statistics.dead_units import DeadUnitTracker
from engine.statistics.frames import TENSORS, Snapshot, Units, with_update_ratio
from engine.statistics.symmetry import bind_asymmetry, bind_one_signed
from engine.statistics.tensor_statistics import StatisticsTable, TensorSource
from engine.statistics.units import MOST_UNITS, UnitProbe

ACTIVATION: Final = TENSORS.index("activation")
WEIGHT: Final = TENSORS.index("weight")
UPDATE: Final = TENSORS.index("update")
"""The last of the tensors, and the only one measured after the update."""


@dataclass(frozen=True, slots=True)
class ProbedLayer:
    """The arrays of one layer, in the order of TENSORS, and its non-linearity."""

    tensors: Sequence[Array]
    activation: Activation


class Probes:
    """Measures a bound network: call `start` before an update and `finish` after it."""

    def __init__(
        self, network: BoundNetwork, score_gradient: Array, batch: Callable[[], Array]
    ) -> None:
        """`batch` returns the inputs of the last forward pass (batch, *features)."""
        backend = self._backend = network.backend
        self.before = backend.empty(network.store.values.shape)
        update_views = network.store.views(self.before)
        groups = network.network.groups(network.batch_shape[1:])
        self.layers: list[ProbedLayer] = []
        self.affine: list[tuple[int, Callable[[], Array], Array]] = []
        """Of each affine layer: its index, its input, and dL/dz of its output."""
        for index, group in enumerate(groups):
            bound = network.bound
            if group.info.kind == "linear":
                gradient = network.output_gradient(group.weight, score_gradient)
                inputs = partial(lambda at: network.input_of(at, batch()), group.weight)
                self.affine.append((index, inputs, gradient))
            self.layers.append(
                ProbedLayer(
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
        self._table = StatisticsTable(backend, list(self._sources()))
        self.dead_units = DeadUnitTracker(
            backend,
            [(layer.tensors[ACTIVATION], layer.activation.silent_at) for layer in self.layers],
        )
        self._unit_probes = [self._unit_probe(layer) for layer in self.layers]
        self._units: list[Units | None] = [None for _ in groups]
        self._asymmetry, self._one_signed = np.empty(len(groups)), np.empty(len(groups))
        self._asymmetries = [
            bind_asymmetry(backend, layer.tensors[WEIGHT]) for layer in self.layers
        ]
        self._signs: list[Callable[[], float]] = [lambda: nan for _ in groups]
        for index, given, gradient in self.affine:
            self._signs[index] = bind_one_signed(backend, given, gradient)

    def _sources(self) -> Iterator[TensorSource]:
        """Yield the rows of the table: of each layer all but the update; then all updates."""
        for layer in self.layers:
            for name, values in zip(TENSORS[:UPDATE], layer.tensors, strict=False):
                if name == "activation":
                    f = layer.activation
                    yield TensorSource(values, bounds=f.bounds, saturation=f.saturated)
                else:
                    yield TensorSource(values)
        for layer in self.layers:
            yield TensorSource(layer.tensors[WEIGHT], layer.tensors[UPDATE])

    def _unit_probe(self, layer: ProbedLayer) -> UnitProbe | None:
        output, f = layer.tensors[ACTIVATION], layer.activation
        if output.shape[-1] > MOST_UNITS:
            return None
        return UnitProbe(self._backend, output, f.silent_at, f.saturated)

    def take_over(self, old: "Probes", redrawn: Collection[int]) -> None:
        """Copy what is known of dead units in layers that are the same, but for those `redrawn`.

        `redrawn` counts layers from 1. A layer with another non-linearity is another layer.
        """
        pairs = enumerate(zip(self.layers, old.layers, strict=False))
        same = {index for index, (ours, theirs) in pairs if ours.activation == theirs.activation}
        self.dead_units.take_over(old.dead_units, same - {index - 1 for index in redrawn})

    def start(self) -> None:
        """Measure all but the update, with the weights that it will change."""
        sizes = [sum(array.size for array in layer.tensors) for layer in self.layers]
        self._share(self._measure, sizes)
        self._table.complete(0, UPDATE * len(self.layers))

    def _measure(self, first: int, end: int) -> None:
        """Measure the layers [first, end), one after the other: its arrays are in the cache."""
        for layer in range(first, end):
            tensors = self.layers[layer].tensors
            self._backend.xp.copyto(tensors[UPDATE], tensors[WEIGHT])
            self._table.measure(UPDATE * layer, UPDATE * (layer + 1))
            self._asymmetry[layer] = self._asymmetries[layer]()
            self._one_signed[layer] = self._signs[layer]()
            unit_probe = self._unit_probes[layer]
            self._units[layer] = None if unit_probe is None else unit_probe.measure()

    def _share(self, work: Callable[[int, int], None], sizes: Sequence[int]) -> None:
        """Share work(first, end) on layers of these sizes between the threads of the back-end.

        Without kernels, one thread does it all: the formulas' products use the threads of BLAS.
        """
        team = self._backend.thread_team.worth(sum(sizes)) if self._table.compiled else ALONE
        team.run(work, team.shares(sizes))

    def finish(self, step: int, epoch: float, *, updated: bool = True) -> Snapshot:
        """Return the snapshot; with `updated`, the update since `start` is measured as well."""
        table, layers = self._table, len(self.layers)
        rest = UPDATE * layers  # rows before those of the updates
        if updated:
            sizes = [layer.tensors[UPDATE].size for layer in self.layers]
            self._share(lambda first, end: table.measure(rest + first, rest + end), sizes)
            table.complete(rest, rest + layers)
        else:
            table.statistics[rest:] = np.nan
            table.histograms[rest:] = 0

        def by_layer(rows: Host) -> Host:
            before = rows[:rest].reshape(layers, UPDATE, -1)
            return np.concatenate([before, rows[rest:, None]], axis=1)

        return with_update_ratio(
            Snapshot(
                step,
                epoch,
                by_layer(table.statistics),
                by_layer(table.histograms),
                by_layer(table.ranges),
                self.dead_units.fraction.copy(),
                np.empty(layers),
                self._asymmetry.copy(),
                self._one_signed.copy(),
                [
                    None if units is None else replace(units, dead=self.dead_units.dead(index))
                    for index, units in enumerate(self._units)
                ],
            )
        )
