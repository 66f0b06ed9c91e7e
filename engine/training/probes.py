"""What is measured at each layer, and how: read-only, so that training never depends on it."""

from collections.abc import Callable, Iterator, Sequence
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
from engine.statistics.frames import TENSORS, Snapshot, Units
from engine.statistics.symmetry import bind_asymmetry, bind_one_signed
from engine.statistics.tensor_statistics import StatisticsTable, TensorSource
from engine.statistics.units import UnitProbe

WEIGHT: Final = TENSORS.index("weight")
UPDATE: Final = TENSORS.index("update")
"""The last of the tensors, and the only one measured after the update."""


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
        self._backend = network.backend
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
        self._table = StatisticsTable(network.backend, list(self._measured()))
        self.silent = DeadUnitTracker(network)
        self._unit_probe = UnitProbe(network)
        self._units: list[Units | None] = [None for _ in groups]
        self._asymmetry, self._one_signed = np.empty(len(groups)), np.empty(len(groups))
        self._asymmetries = [
            bind_asymmetry(network.backend, layer.tensors[WEIGHT]) for layer in self.layers
        ]
        self._signs: list[Callable[[], float]] = [lambda: nan for _ in groups]
        for index, given, gradient in self.affine:
            self._signs[index] = bind_one_signed(network.backend, given, gradient)

    def _measured(self) -> Iterator[TensorSource]:
        """Yield the rows of the table: of each layer all but the update; then all updates."""
        for layer in self.layers:
            for name, values in zip(TENSORS[:UPDATE], layer.tensors, strict=False):
                yield TensorSource(values, None, layer.activation if name == "activation" else None)
        for layer in self.layers:
            yield TensorSource(layer.tensors[WEIGHT], layer.tensors[UPDATE])

    def start(self) -> None:
        """Measure all but the update, with the weights that it will change."""
        self._share(self._look, [sum(each.size for each in of.tensors) for of in self.layers])
        self._table.complete(0, UPDATE * len(self.layers))

    def _look(self, first: int, end: int) -> None:
        """Measure some layers, each at once: much of it is still in a cache then."""
        for layer in range(first, end):
            tensors = self.layers[layer].tensors
            self._backend.xp.copyto(tensors[UPDATE], tensors[WEIGHT])
            self._table.measure(UPDATE * layer, UPDATE * (layer + 1))
            self._asymmetry[layer] = self._asymmetries[layer]()
            self._one_signed[layer] = self._signs[layer]()
            self._units[layer] = self._unit_probe.measure(layer)

    def _share(self, work: Callable[[int, int], None], sizes: Sequence[int]) -> None:
        """Let the threads of the back-end work on layers (first, end) of these sizes.

        Formulas are left to one: their products have threads of BLAS already.
        """
        crew = self._backend.crew.worth(sum(sizes)) if self._table.compiled else ALONE
        crew.run(work, crew.shares(sizes))

    def finish(self, step: int, epoch: float, *, updated: bool = True) -> Snapshot:
        """Measure the update that was made since `start`, if one was, and return everything."""
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
                self.silent.fraction.copy(),
                np.empty(layers),
                self._asymmetry.copy(),
                self._one_signed.copy(),
                [
                    None if units is None else replace(units, dead=self.silent.dead(index))
                    for index, units in enumerate(self._units)
                ],
            )
        )


def with_update_ratio(snapshot: Snapshot) -> Snapshot:
    """Fill ‖ΔW‖ / ‖W‖ of a snapshot from its table, and return it."""
    weight, update = snapshot.field("weight", "norm"), snapshot.field("update", "norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(update, weight, out=snapshot.update_ratio)
    return snapshot
