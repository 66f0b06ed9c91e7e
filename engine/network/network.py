"""A network: layers in a row, bound once into buffers over one flat parameter array."""

from collections.abc import Collection, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from itertools import pairwise
from math import prod

import numpy as np

from engine.activations import Activation, Identity, activations
from engine.backends.base import Array, Backend
from engine.errors import ConfigError, TuilabError
from engine.initializers import Initializer
from engine.layers.base import Bound, Layer, Scope, Shape, layers
from engine.layers.batch_norm import BatchNorm
from engine.layers.layer_norm import LayerNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.reshape import Flatten
from engine.network.batch_shards import Shards
from engine.network.parameters import ParameterStore, allocate
from engine.registry import Registry
from engine.statistics.frames import LayerInfo


@dataclass(frozen=True, slots=True)
class Group:
    """A layer as the lecture counts, by positions in the network's row of layers."""

    weight: int  # of the layer that has the weights, with which the group begins
    output: int  # of its non-linearity; of its last layer where there is none
    info: LayerInfo
    activation: Activation

    @property
    def pre_activation(self) -> int:
        """Position of the layer whose output goes into the non-linearity."""
        return max(self.weight, self.output - 1)


@dataclass(frozen=True)
class Network:
    """Layers in a row. Say what it is here; `bind` makes it run."""

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        if not any(layer.weighted for layer in self.layers):
            raise ConfigError("a network needs a layer that has weights")

    @property
    def description(self) -> dict[str, str]:
        """What the network is, layer by layer, for a checkpoint to tell it from another."""
        return {f"layer {at}": str(layer) for at, layer in enumerate(self.layers, start=1)}

    @property
    def first_weighted(self) -> int:
        """Position of the first layer that learns; those before it need no gradient."""
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
        """Return the layers as the lecture counts them: each begins at an array of weights."""
        shapes = self.shapes(x)
        return [
            self._group(index, first, end, shapes, output=end == len(self.layers))
            for index, (first, end) in enumerate(pairwise(self._cuts), start=1)
        ]

    @property
    def _cuts(self) -> list[int]:
        """Positions at which groups begin, and the end of the last."""
        starts = [i for i, layer in enumerate(self.layers) if layer.weighted]
        return [*starts, len(self.layers)]

    @property
    def rows(self) -> list[list[Layer]]:
        """The layers of each group, by its index; at 0, what comes before the first weights."""
        return [list(self.layers[first:end]) for first, end in pairwise([0, *self._cuts])]

    def positions(self, groups: Collection[int]) -> list[int]:
        """Return where the layers of these groups (by index, from 1) lie in the row."""
        cuts = self._cuts
        return [at for index in sorted(groups) for at in range(cuts[index - 1], cuts[index])]

    def _group(self, index: int, first: int, end: int, shapes: list[Shape], output: bool) -> Group:
        members = self.layers[first:end]
        activation: Activation = Identity()
        name, at = activations.name_of(activation), end - 1
        for position, layer in enumerate(members, start=first):
            if isinstance(layer, Nonlinearity):
                activation, name = layer.activation, activations.name_of(layer.activation)
                at = position
            elif layer.activates:
                activation, name, at = Activation(), layer.kind, position
        count = sum(
            prod(parameter.shape)
            for position in range(first, end)
            for parameter in self.layers[position].parameters(shapes[position]).values()
        )
        info = LayerInfo(
            index=index,
            name="output" if output else name,
            kind=members[0].kind,
            units=shapes[at + 1][-1],  # of images, the channels
            activation=name,
            normalization=next(
                (m.kind for m in members if isinstance(m, BatchNorm | LayerNorm)), ""
            ),
            parameters=count,
            first=members[0].first_weights(shapes[first]),
            settings=asdict(activation),
            between=self._between(first, end, at),
            sees=self._sees(first, shapes),
            path=str(index),
            role="output" if output else "hidden",
            bounds=activation.bounds,
            saturated=activation.saturated,
            silent_at=activation.silent_at,
        )
        return Group(first, at, info, activation)

    def _between(self, first: int, end: int, activation: int) -> tuple[str, ...]:
        """Return the kinds of what changes the signal beside weights, norm and non-linearity."""
        begin = 0 if first == self.first_weighted else first  # what the data go through, too
        kinds = []
        for position, layer in enumerate(self.layers[begin:end], start=begin):
            plain = isinstance(layer, BatchNorm) and layer.start == "normalized"
            known = position in (first, activation) or (plain and position < activation)
            if not known and not isinstance(layer, Flatten):
                kinds.append(layer.kind)
        return tuple(kinds)

    def _sees(self, position: int, shapes: list[Shape]) -> Shape:
        """Return what a unit of a layer is connected to; of images made flat, the images."""
        if position and isinstance(self.layers[position - 1], Flatten):
            return shapes[position - 1]
        return self.layers[position].sees(shapes[position])

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


@dataclass(frozen=True)
class BoundNetwork:
    """A network over its arrays, for one batch shape; `rebind` makes another over the same."""

    network: Network
    batch_shape: Shape
    backend: Backend
    store: ParameterStore
    hyper: MutableMapping[str, float]
    noise: np.random.Generator
    backwards: bool = True
    shapes: list[Shape] = field(init=False)
    """Before each layer, and after the last."""
    bound: list[Bound] = field(init=False)
    shards: Shards | None = field(init=False)
    """What goes forwards and backwards in place of `bound`, where that is worth its threads."""

    def __post_init__(self) -> None:
        shapes, learns = self.network.shapes(self.batch_shape[1:]), self.network.first_weighted
        scopes = [
            Scope(
                self.backend,
                self.batch_shape[0],
                self.store.value_views[position],
                self.store.gradient_views[position],
                self.store.state_views[position],
                self.backwards and position >= learns,
                input_gradient=self.backwards and position > learns,
                hyper=self.hyper,
                noise=self.noise,
            )
            for position in range(len(self.network.layers))
        ]
        triples = zip(self.network.layers, shapes, scopes, strict=False)
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "bound", [layer.bind(x, scope) for layer, x, scope in triples])
        object.__setattr__(self, "shards", Shards(self, scopes) if Shards.fit(self) else None)

    def rebind(self, batch: int, *, backwards: bool = False) -> "BoundNetwork":
        """Bind the same parameters for another batch size, by default for evaluation only."""
        shape = (batch, *self.batch_shape[1:])
        return replace(self, batch_shape=shape, backwards=backwards)

    def input_of(self, position: int, x: Array) -> Array:
        """Return what goes into a layer where x (batch, *features) goes into the network."""
        return self.bound[position - 1].output if position else x

    def output_gradient(self, position: int, dscores: Array) -> Array:
        """Return dL/dy of what comes out of a layer; dL/dscores is that of the last."""
        at_end = position + 1 == len(self.bound)
        return dscores if at_end else self.bound[position + 1].input_gradient

    @contextmanager
    def undisturbed(self, *, averages: bool = True) -> Iterator[None]:
        """Put back, at the end, the noise stream and the running averages, unless told not to."""
        generator, state = self.noise.bit_generator, self.store.state
        drawn, kept = generator.state, state.copy()
        try:
            yield
        finally:
            generator.state = drawn
            if averages:
                state[...] = kept

    def forward(self, x: Array, training: bool) -> Array:
        """x (batch, *features) → scores (batch, classes)."""
        if self.shards is not None:
            return self.shards.forward(x, training)
        return reduce(lambda y, layer: layer.forward(y, training), self.bound, x)

    def backward(self, dscores: Array) -> None:
        """Fill the gradients of all parameters from dL/dscores."""
        if self.shards is not None:
            self.shards.backward(dscores)
        else:
            learning = self.bound[self.network.first_weighted :]
            reduce(lambda dy, layer: layer.backward(dy), reversed(learning), dscores)


def mlp(
    hidden: Sequence[int],
    classes: int,
    *,
    activation: Activation | Layer,
    initializer: Initializer,
    bias: float = 0.0,
    batch_norm: BatchNorm | bool = False,
) -> Network:
    """Make the lecture's network: linear, [batch norm,] non-linearity for each hidden layer.

    An activation that is a layer of its own (prelu, maxout) gets as many features as it needs to
    give `hidden` units. `bias` is the first value of every bias. Before batch normalisation there
    is none: subtracting the mean would undo it.
    """
    normalization = BatchNorm() if batch_norm is True else batch_norm or None
    last = Nonlinearity(activation) if isinstance(activation, Activation) else activation
    row: list[Layer] = []
    for units in hidden:
        inner = units * last.inputs_per_unit
        row.append(Linear(inner, initializer, None if normalization else bias))
        if normalization:
            row.append(normalization)
        row.append(last)
    row.append(Linear(classes, initializer, bias))
    return Network(row)


def activation_choices() -> Registry[Activation | Layer]:
    """Return all that `mlp` takes as an activation: the family, and layers that stand for one."""
    choices: Registry[Activation | Layer] = Registry(activations.kind)
    for name, activation in activations.items():
        choices.register(name)(activation)
    for name, layer in layers.items():
        if layer.activates:
            choices.register(name)(layer)
    return choices
