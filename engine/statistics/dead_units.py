"""Dead units: those that no example of a whole epoch activates."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from engine.statistics.arrays import Array, ArrayBackend


@dataclass(frozen=True, slots=True)
class _Tracked:
    """A layer whose units can die."""

    index: int  # from 0
    floor: float
    output: Array  # (rows, units)
    highest: Array  # (units,): the floor, or infinity once the unit was active in this epoch
    update: Callable[[], bool]  # records the output of a step; returns whether all were active
    dead: npt.NDArray[np.bool_]  # (units,): not active in the last whole epoch


class DeadUnitTracker:
    """Records, through every step of an epoch, which units never rise above their floor.

    `fraction` (layers,) is the share of dead units in the last whole epoch: 0 for a layer whose
    units cannot die, NaN until the first epoch is complete. NaN as an output counts as active.
    Lecture 6, "dead ReLUs".
    """

    def __init__(self, backend: ArrayBackend, layers: Sequence[tuple[Array, float | None]]) -> None:
        """`layers`: of each layer its output and its floor, both as long as the tracker lives.

        An output (examples, *places, units) is the array that every step writes to; a unit of a
        convolution is a channel. The floor is the value above which a unit is active, 0 for ReLU;
        None where units cannot die.
        """
        self._xp, self._to_host = backend.xp, backend.to_host
        self.fraction = np.zeros(len(layers))
        self._tracked: list[_Tracked] = []
        for index, (output, floor) in enumerate(layers):
            if floor is not None:
                units = output.shape[-1:]
                highest, dead = backend.full(units, floor), np.zeros(units, np.bool_)
                rows = output.reshape(-1, *units)
                update = _bind_update(backend, highest, rows, floor)
                self._tracked.append(_Tracked(index, floor, rows, highest, update, dead))
                self.fraction[index] = np.nan
        self._inactive = self._tracked  # layers in which a unit has not been active this epoch

    @property
    def tracked(self) -> list[tuple[Array, Array]]:
        """Of each layer whose units can die: its output (rows, units), and the highest so far.

        Any value above the floor means the same: the unit was active.
        """
        return [(layer.output, layer.highest) for layer in self._tracked]

    @property
    def state(self) -> dict[str, Array]:
        """What a checkpoint must save: the last whole epoch, and the current one by layer."""
        highest = {f"highest{layer.index}": layer.highest for layer in self._tracked}
        dead = {f"dead{layer.index}": layer.dead for layer in self._tracked}
        return {"fraction": self.fraction, **highest, **dead}

    def dead(self, layer: int) -> npt.NDArray[np.bool_] | None:
        """Return which units (units,) of a layer (from 0) were dead in the last whole epoch.

        None where units cannot die, or no epoch is complete.
        """
        masks = (tracked.dead for tracked in self._tracked if tracked.index == layer)
        return None if np.isnan(self.fraction[layer]) else next((m.copy() for m in masks), None)

    def update(self) -> None:
        """Record the outputs of the last step.

        A layer whose units have all been active in this epoch is left out until the next.
        """
        if self._inactive:
            self._inactive = [layer for layer in self._inactive if not layer.update()]

    def reload(self) -> None:
        """Take the arrays of `state` as they are now, after a checkpoint was written to them."""
        self._inactive = self._tracked

    def take_over(self, old: "DeadUnitTracker", layers: Collection[int]) -> None:
        """Copy what `old` has recorded of these layers (from 0), where the units are as many."""
        before = {layer.index: layer for layer in old._tracked}
        for layer in self._tracked:
            other = before.get(layer.index) if layer.index in layers else None
            if other is not None and other.highest.shape == layer.highest.shape:
                self.fraction[layer.index] = old.fraction[layer.index]
                self._xp.copyto(layer.highest, other.highest)
                layer.dead[...] = other.dead

    def end_epoch(self) -> None:
        """Set `fraction` from what was recorded since the last call, and begin a new epoch."""
        for layer in self._tracked:
            layer.dead[...] = self._to_host(layer.highest) <= layer.floor
            self.fraction[layer.index] = float(np.mean(layer.dead))
            layer.highest.fill(layer.floor)
        self._inactive = self._tracked


def _bind_update(
    backend: ArrayBackend, highest: Array, output: Array, floor: float
) -> Callable[[], bool]:
    """Return the update of `highest` (units,) by `output` (rows, units) of a step.

    It sets units that rise above `floor` to infinity, and not to their maximum, so that the result
    is the same whether or not a layer is left out after all of its units were active. It returns
    whether they all were; always False on a device, where the host would have to wait for that.
    """
    xp, row = backend.xp, backend.empty(highest.shape)
    on_host = xp is np

    def update() -> bool:
        xp.max(output, axis=0, out=row)
        highest[~(row <= floor)] = inf  # NaN counts as active
        return on_host and bool(np.all(highest > floor))

    return backend.kernel("rise", highest, output, *output.shape, floor) or update
