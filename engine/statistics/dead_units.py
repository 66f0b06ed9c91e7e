"""Units that fall silent: those that no example of a whole epoch reaches."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from engine.activations import Activation
from engine.backends.base import Array, Backend
from engine.network import BoundNetwork


@dataclass(frozen=True, slots=True)
class _Watched:
    """A layer whose units can fall silent."""

    index: int  # from 0
    activation: Activation
    floor: float
    output: Array  # (examples, units)
    highest: Array  # (units,): its floor, or infinity once it has risen in this epoch
    rise: Callable[[], bool]  # takes in the output of a step; tells whether all have risen
    dead: npt.NDArray[np.bool_]  # (units,): silent over the last whole epoch

    def alike(self, other: "_Watched") -> bool:
        """Tell whether the units of both are as many, and of one kind."""
        same_shape: bool = self.highest.shape == other.highest.shape
        return same_shape and self.activation == other.activation


class DeadUnitTracker:
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
                highest, dead = network.backend.full(units, floor), np.zeros(units, np.bool_)
                output = output.reshape(-1, *units)
                rise = _rising(network.backend, highest, output, floor)
                self._watched.append(
                    _Watched(index, group.activation, floor, output, highest, rise, dead)
                )
                self.fraction[index] = np.nan
        self._silent = self._watched  # those whose units have not all risen since the epoch began

    @property
    def watched(self) -> list[tuple[Array, Array]]:
        """Of each layer whose units can die: its output (rows, units), and the highest so far.

        Whatever is above the floor means the same: the unit has risen.
        """
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
        """Take in the activations of the step just made.

        Of layers whose units have all risen in this epoch there is nothing more to know.
        """
        if self._silent:
            self._silent = [each for each in self._silent if not each.rise()]

    def look_again(self) -> None:
        """Look at all layers from now on, for their `state` was set to another."""
        self._silent = self._watched

    def take_over(self, old: "DeadUnitTracker", anew: Collection[int]) -> None:
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
        self.look_again()


def _rising(backend: Backend, highest: Array, output: Array, floor: float) -> Callable[[], bool]:
    """Return what raises `highest` (units,) where `output` (examples, units) is above `floor`.

    To infinity, so that it is the same whether or not who has risen is looked at again.

    It tells whether all are above `floor` now; never on a device, for that would be waited for.
    """
    xp, row = backend.xp, backend.empty(highest.shape)
    on_host = backend.launcher is None

    def rise() -> bool:
        xp.max(output, axis=0, out=row)
        highest[~(row <= floor)] = inf  # what is no number is not silent
        return on_host and bool(np.all(highest > floor))

    return backend.kernel("rise", highest, output, *output.shape, floor) or rise
