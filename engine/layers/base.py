"""What a layer is: a frozen description that is bound into buffers once and then runs many times.

A layer reads as its formula: `Layer.bind` allocates buffers by name and returns functions over
plain arrays. `Bound` remembers the input between the passes, and `Scope` gives a layer that is
bound for a shard of the batch its rows of the same buffers.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.backends.base import Array, Backend
from engine.backends.threads import Barrier
from engine.initializers import Initializer
from engine.registry import Registry
from engine.statistics.frames import FirstWeights

Shape: TypeAlias = tuple[int, ...]  # without the batch axis
layers: Registry["Layer"] = Registry("layer", "engine.layers")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trained array to be allocated: its shape, how to draw it, and whether it decays."""

    shape: Shape
    draw: Callable[[np.random.Generator], npt.NDArray[np.float64]]
    decays: bool = False


def weight_and_bias(
    shape: tuple[int, int],
    initializer: Initializer,
    bias: float | None,
    *,
    fan_in: int,
    fan_out: int,
) -> dict[str, Parameter]:
    """Return the parameters of an affine map: a weight (inputs, units), and a bias unless None."""

    def draw(generator: np.random.Generator) -> npt.NDArray[np.float64]:
        return initializer(shape, fan_in=fan_in, fan_out=fan_out, generator=generator)

    parameters = {"weight": Parameter(shape, draw, decays=True)}
    if bias is not None:
        units = shape[1:]
        parameters["bias"] = Parameter(units, lambda _: np.full(units, bias, np.float64))
    return parameters


class Bound:
    """A layer bound into buffers: its passes, and the arrays that others may read."""

    __slots__ = (
        *("output", "input_gradient", "start", "inside", "deferred"),
        *("_forward", "_backward", "_weight_gradient", "_gradients", "_x"),
    )

    def __init__(
        self,
        forward: Callable[[Array, bool], Array],
        backward: Callable[[Array, Array], Array],
        output: Array,
        input_gradient: Array,
        *,
        weight_gradient: Callable[..., None] | None = None,
        gradients: Sequence[Array] = (),
        start: Callable[[Array], Array] | None = None,
        inside: Sequence["Bound"] = (),
    ) -> None:
        """Take the layer's functions over plain arrays, and the buffers that they fill.

        `forward` is (x, training) → y, which is `output`. `backward` is (x, dL/dy) → dL/dx, which
        is `input_gradient`; it also fills the gradients of the parameters. A layer where these are
        most of the work offers them apart: `weight_gradient` is (x, dL/dy, *gradients) → None, for
        all units or some of them, the last axis of dL/dy and of each of the `gradients`.

        `start` is that of a layer that initialises from data: it sets the parameters by x, the
        first batch, and returns y.
        """
        self.output, self.input_gradient, self.start = output, input_gradient, start
        self.inside = inside
        """The layers inside this one, in order."""
        self.deferred = False
        """Whether `weight_gradient` is called after all layers have gone backwards."""
        self._forward, self._backward = forward, backward
        self._weight_gradient, self._gradients = weight_gradient, gradients
        self._x: Array = None

    @property
    def shares_units(self) -> bool:
        """Whether threads can share its weight gradient by units, rather than by examples."""
        return self._weight_gradient is not None

    def forward(self, x: Array, training: bool) -> Array:
        """Return y for x (batch, *input shape); it is valid until the next call."""
        self._x = x
        return self._forward(x, training)

    def backward(self, dy: Array) -> Array:
        """Return dL/dx of the last forward pass, and fill the gradients of the parameters."""
        if self._weight_gradient is not None:
            if not self.deferred:
                self._weight_gradient(self._x, dy, *self._gradients)
            if not len(self.input_gradient):
                return self.input_gradient
        return self._backward(self._x, dy)

    def weight_gradient(self, x: Array, dy: Array, units: slice) -> None:
        """Fill the gradients of the parameters of some units, if it `shares_units`."""
        assert self._weight_gradient is not None
        gradients = [gradient[..., units] for gradient in self._gradients]
        self._weight_gradient(x, dy[..., units], *gradients)


def start_row(row: Sequence[Bound], x: Array) -> Array:
    """Initialise the layers in `row` that start from data by the first batch x; return y."""
    for layer in row:
        x = layer.forward(x, True) if layer.start is None else layer.start(x)
    return x


def starts(row: Sequence[Bound]) -> bool:
    """Return whether a layer in `row` initialises from data."""
    return any(layer.start is not None for layer in row)


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of a batch, for which a layer is bound again (`engine.network.batch_shards`)."""

    rank: int  # from 0
    rows: slice
    whole: "Scope"  # of the same layer, for all rows
    barrier: Barrier  # of all shards


@dataclass(frozen=True, slots=True)
class Scope:
    """What a layer binds into: a batch size on a back-end, its parameters, and its buffers.

    A name identifies one buffer of a layer. Shards of the batch get rows of the whole batch's
    buffer of that name, in whatever order they ask.
    """

    backend: Backend
    batch: int
    parameters: Mapping[str, Array]
    gradients: Mapping[str, Array]
    state: Mapping[str, Array]  # saved but not trained: running averages
    backwards: bool = True  # False: only forward will run, no gradient buffers are needed
    needs_input_gradient: bool = True  # False for weights with no parameters before them
    hyper: MutableMapping[str, float] = field(default_factory=dict)  # read at every step
    noise: np.random.Generator = field(default_factory=np.random.default_rng)  # for masks

    shard: Shard | None = None  # the part of the batch, if it is not all of it
    buffers: dict[str, Array] = field(default_factory=dict)  # those of the whole batch
    prefix: str = ""  # of the names of buffers, for layers inside a layer

    def of(self, shard: Shard, gradients: Mapping[str, Array]) -> "Scope":
        """Return the scope of the rows of `shard`, whose passes write `gradients`."""
        batch = shard.rows.stop - shard.rows.start
        return replace(self, shard=shard, batch=batch, gradients=gradients)

    @property
    def examples(self) -> int:
        """Number of examples in the whole batch."""
        return self.batch if self.shard is None else self.shard.whole.batch

    @property
    def updates_state(self) -> bool:
        """Whether to update `state`, which all shards of a batch share: the first one does."""
        return self.shard is None or self.shard.rank == 0

    def output(self, shape: Shape) -> Array:
        """Allocate y (batch, *shape)."""
        return self.buffer("y", shape)

    def input_gradient(self, x: Shape) -> Array:
        """Allocate dL/dx (batch, *x); no rows where it is not needed."""
        return self._rows("dx", x, self.backwards and self.needs_input_gradient)

    def buffer(self, name: str, shape: Shape, dtype: Any = None) -> Array:
        """Allocate (batch, *shape), to write in forward passes."""
        return self._rows(name, shape, True, dtype)

    def gradient(self, name: str, shape: Shape, dtype: Any = None) -> Array:
        """Allocate (batch, *shape), to write in backward passes; no rows where there are none."""
        return self._rows(name, shape, self.backwards, dtype)

    def ones(self) -> Array:
        """Allocate (batch,) ones: `ones @ x` sums over the batch, 3 × as fast as `sum(axis=0)`."""
        return self.backend.full((self.batch,), 1.0)

    def total(self, *names: str, shape: Shape) -> Callable[..., Sequence[Array]]:
        """Return a function of one array of `shape` per name: their sums over all shards.

        The sums are made in the order of the shards, so that all shards get the same to the last
        bit. Without shards they are the arrays themselves. A function may be called once in a
        pass: between two calls all shards must meet, for instance in the total of another name.
        """
        backend, shard = self.backend, self.shard
        if shard is None:
            for name in names:
                self._allocate(name, (backend.thread_team.size, *shape))
            return lambda *parts: parts
        buffers = [(self._of_whole(shard, name), backend.empty(shape)) for name in names]

        def total(*parts: Array) -> Sequence[Array]:
            for (all_parts, _), part in zip(buffers, parts, strict=True):
                all_parts[shard.rank] = part
            shard.barrier.wait(shard.rank)
            return [backend.xp.sum(all_parts, axis=0, out=sum_) for all_parts, sum_ in buffers]

        return total

    def _rows(self, name: str, shape: Shape, needed: bool, dtype: Any = None) -> Array:
        if self.shard is not None:
            return self._of_whole(self.shard, name)[self.shard.rows]
        return self._allocate(name, (self.batch if needed else 0, *shape), dtype)

    def _of_whole(self, shard: Shard, name: str) -> Array:
        return shard.whole.buffers[self.prefix + name]

    def _allocate(self, name: str, shape: Shape, dtype: Any = None) -> Array:
        name = self.prefix + name
        if name in self.buffers:
            raise ValueError(f"the layer has two buffers '{name}'")
        self.buffers[name] = self.backend.empty(shape, dtype)
        return self.buffers[name]


@dataclass(frozen=True)
class Layer:
    """A frozen description; subclasses are dataclasses whose fields are the settings."""

    kind: ClassVar[str]
    weighted: ClassVar[bool] = False
    """Whether it has a parameter "weight": each layer that is shown begins with one."""
    activates: ClassVar[bool] = False
    """Whether it can be chosen, by its own name, where a network asks for an activation."""
    normalizes: ClassVar[bool] = False
    """Whether it is shown, by its own name, as the normalisation of its layer."""
    flattens: ClassVar[bool] = False
    """Whether it passes every value on, as flat features: units after it see its input."""
    over_images: ClassVar[bool] = False
    """Whether its input must be images (height, width, channels)."""

    @property
    def inputs_per_unit(self) -> int:
        """Number of input features for each output feature."""
        return 1

    @property
    def standardizes_units(self) -> bool:
        """Whether every unit leaves it with mean 0 and variance 1 over the first batch."""
        return False

    @property
    def by_rows(self) -> bool:
        """Whether shards of a batch can go through it side by side."""
        return True

    def output_shape(self, x: Shape) -> Shape:
        """Return the shape of the output for an input of shape `x`; raise ShapeError."""
        return x

    def sees(self, x: Shape) -> Shape:
        """Return the shape of what one unit is connected to, in the order of its weights."""
        return x

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        """Return the trained arrays for an input of shape `x`."""
        return {}

    def first_weights(self, x: Shape) -> FirstWeights | None:
        """Return how the weights are drawn for an input of shape `x`; None where it is unknown.

        None as well where a unit does not see the whole input once: convolutions.
        """
        return None

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        """Return the initial values of arrays that are saved but not trained."""
        return {}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        """Allocate buffers for inputs of shape `x` and return the functions that fill them."""
        raise NotImplementedError
