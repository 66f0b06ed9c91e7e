"""The layout of the layers' arrays in a checkpoint, by layer and name."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from engine.network.bound_network import BoundNetwork


@dataclass(frozen=True, slots=True)
class Slice:
    """A named piece of one of a checkpoint's flat arrays."""

    layer: int  # as the lecture counts, from 1; 0 before the first with weights
    kind: str  # of its layer: "linear", "batch_norm"
    name: str  # "weight", "gamma", "running_mean"; inside a residual block "1.gamma"
    array: str  # "parameters" or "running"
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Its end in the array."""
        return self.start + prod(self.shape)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Slice":
        """Return the slice with these fields, as read from JSON."""
        return cls(**{**values, "shape": tuple(values["shape"])})


def slices(network: BoundNetwork) -> list[Slice]:
    """Return the slices of all trained arrays, and of the layers' other state."""
    result: list[Slice] = []
    index, store = 0, network.store
    layouts = zip(network.network.layers, store.layout, store.state_layout, strict=True)
    for layer, parameters, state in layouts:
        index += layer.weighted
        for array, layout in (("parameters", parameters), ("running", state)):
            for name, (start, shape) in layout.items():
                result.append(Slice(index, layer.kind, name, array, start, shape))
    return result
