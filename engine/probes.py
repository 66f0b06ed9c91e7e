"""What is measured at each layer, and how: read-only, so that training never depends on it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from engine.activations import Activation
from engine.backend import Array, Host
from engine.frames import TENSORS, Snapshot, Units
from engine.meter import Measured, Table
from engine.network import BoundNetwork
from engine.silence import SilentUnits
from engine.unit_statistics import bind_asymmetry, bind_one_signed
from engine.units import UnitProbe

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
        self._table = Table(network.backend, list(self._measured()))
        self.silent = SilentUnits(network)
        self._unit_probe = UnitProbe(network)
        self._units: list[Units | None] = []
        self._asymmetry = np.empty(len(groups))
        self._one_signed = np.full(len(groups), np.nan)
        weight = TENSORS.index("weight")
        self._asymmetries = [
            bind_asymmetry(network.backend, layer.tensors[weight]) for layer in self.layers
        ]
        self._signs = [
            (index, bind_one_signed(network.backend, inputs, gradient))
            for index, inputs, gradient in self.affine
        ]

    def _measured(self) -> Iterator[Measured]:
        """Yield the rows of the table: one tensor of all layers, then the next."""
        for position, name in enumerate(TENSORS):
            for layer in self.layers:
                values = layer.tensors[position]
                if position == UPDATE:
                    yield Measured(layer.tensors[TENSORS.index("weight")], values)
                else:
                    yield Measured(values, None, layer.activation if name == "activation" else None)

    def start(self) -> None:
        """Measure all but the update, with the weights that it will change."""
        self._backend.xp.copyto(self.before, self._store.values)
        self._table.measure(0, UPDATE * len(self.layers))
        self._measure_units()
        self._units = self._unit_probe.measure()

    def finish(self, step: int, epoch: float, *, updated: bool = True) -> Snapshot:
        """Measure the update that was made since `start`, if one was, and return everything."""
        table, layers = self._table, len(self.layers)
        of_update = slice(UPDATE * layers, len(TENSORS) * layers)
        if updated:
            table.measure(of_update.start, of_update.stop)
        else:
            table.statistics[of_update] = np.nan
            table.histograms[of_update] = 0

        def by_layer(rows: Host) -> Host:
            return rows.reshape(len(TENSORS), layers, -1).swapaxes(0, 1).copy()

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

    def _measure_units(self) -> None:
        for index, asymmetry in enumerate(self._asymmetries):
            self._asymmetry[index] = asymmetry()
        for index, one_signed in self._signs:
            self._one_signed[index] = one_signed()


def with_update_ratio(snapshot: Snapshot) -> Snapshot:
    """Fill ‖ΔW‖ / ‖W‖ of a snapshot from its table, and return it."""
    weight, update = snapshot.field("weight", "norm"), snapshot.field("update", "norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(update, weight, out=snapshot.update_ratio)
    return snapshot
