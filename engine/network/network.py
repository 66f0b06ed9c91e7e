"""A network: a sequence of layers, which `bind` gives parameters and buffers."""

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.backends.base import Backend
from engine.errors import ConfigError, TuilabError
from engine.layers.base import Layer, Shape
from engine.network.bound_network import BoundNetwork
from engine.network.layer_groups import Group, groups
from engine.network.parameters import allocate


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

    @property
    def first_weighted(self) -> int:
        """Position of the first layer with weights; those before it need no gradient."""
        return next(i for i, layer in enumerate(self.layers) if layer.weighted)

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
        return groups(self, x)

    @property
    def boundaries(self) -> list[int]:
        """Positions at which groups begin, and the end of the last."""
        begins = [i for i, layer in enumerate(self.layers) if layer.weighted]
        return [*begins, len(self.layers)]

    @property
    def rows(self) -> list[list[Layer]]:
        """The layers of each group, by its index; at 0, those before the first weights."""
        return [list(self.layers[first:end]) for first, end in pairwise([0, *self.boundaries])]

    def positions(self, groups: Collection[int]) -> list[int]:
        """Return the positions of the layers in these groups (by index, from 1)."""
        edges = self.boundaries
        return [at for index in sorted(groups) for at in range(edges[index - 1], edges[index])]

    def bind(
        self,
        batch_shape: Shape,
        backend: Backend,
        *,
        generator: np.random.Generator,
        hyper: MutableMapping[str, float] | None = None,
        noise: np.random.Generator | None = None,
    ) -> "BoundNetwork":
        """Draw the parameters and bind buffers for inputs of `batch_shape` (batch, *features).

        Layers read what may change while training from `hyper`, to which they add their own, and
        draw masks from `noise`.
        """
        shapes = self.shapes(batch_shape[1:])
        pairs = list(zip(self.layers, shapes, strict=False))
        store = allocate(
            [layer.parameters(x) for layer, x in pairs],
            [layer.state(x) for layer, x in pairs],
            backend,
            generator,
        )
        return BoundNetwork(
            self,
            batch_shape,
            backend,
            store,
            {} if hyper is None else hyper,
            np.random.default_rng(0) if noise is None else noise,
        )
