"""A network: a sequence of layers, which `BoundNetwork` gives parameters and buffers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.errors import ConfigError, TuilabError
from engine.layers.base import Layer, Shape
from engine.network.layer_groups import Group, boundaries, groups


@dataclass(frozen=True)
class Network:
    """A frozen description: layers, each of which takes the output of the one before."""

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        if not any(layer.weighted for layer in self.layers):
            raise ConfigError("a network needs a layer that has weights")

    @property
    def description(self) -> dict[str, str]:
        """The network layer by layer, by which a checkpoint recognises it."""
        return {f"layer {at}": str(layer) for at, layer in enumerate(self.layers, start=1)}

    def shapes(self, x: Shape) -> list[Shape]:
        """Return the shape before each layer and after the last, without the batch axis.

        Raises ShapeError, naming the layer that does not fit.
        """
        shapes = [x]
        for position, layer in enumerate(self.layers, start=1):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except TuilabError as error:
                raise type(error)(f"layer {position} ({layer.kind}): {error}") from error
        return shapes

    def groups(self, x: Shape) -> list[Group]:
        """Return the layers as the lecture counts them. Raises ShapeError."""
        return groups(self.layers, self.shapes(x))

    @property
    def boundaries(self) -> list[int]:
        """Positions at which groups begin, and the end of the last."""
        return boundaries(self.layers)

    @property
    def rows(self) -> list[list[Layer]]:
        """The layers of each group, by its index; at 0, those before the first weights."""
        return [list(self.layers[first:end]) for first, end in pairwise([0, *self.boundaries])]

    def positions(self, groups: Collection[int]) -> list[int]:
        """Return the positions of the layers in these groups (by index, from 1).

        The layers before the first weights belong to the first group.
        """
        edges = [0, *self.boundaries[1:]]
        return [at for index in sorted(groups) for at in range(edges[index - 1], edges[index])]
