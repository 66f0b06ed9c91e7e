"""Where the parameters of each layer lie in a checkpoint, by the names of their layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from engine.network import BoundNetwork


@dataclass(frozen=True, slots=True)
class Slice:
    """A named piece of one of a checkpoint's flat arrays."""

    layer: int  # as the lecture counts, from 1; 0 before the first that has weights
    kind: str  # of the layer that it is of: "linear", "batch_norm"
    name: str  # "weight", "gamma", "running_mean"; inside a residual block "1.gamma"
    array: str  # "parameters" or "running"
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Where it ends in its array."""
        return self.start + prod(self.shape)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Slice":
        """Return the slice that was written as JSON."""
        return cls(**{**values, "shape": tuple(values["shape"])})


def slices(network: BoundNetwork) -> list[Slice]:
    """Return where all trained arrays, and those kept besides, lie in `store`."""
    found: list[Slice] = []
    layer = 0
    store = network.store
    layouts = zip(network.network.layers, store.layout, store.state_layout, strict=True)
    for each, parameters, state in layouts:
        layer += each.weighted
        for array, places in (("parameters", parameters), ("running", state)):
            for name, (start, shape) in places.items():
                found.append(Slice(layer, each.kind, name, array, start, shape))
    return found
