"""What a layer is: a frozen description that binds once into buffers, and then runs many times."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
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
    """A trained array to be: its shape, how to draw it, and whether weight decay applies."""

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

    found = {"weight": Parameter(shape, draw, decays=True)}
    if bias is not None:
        units = shape[1:]
        found["bias"] = Parameter(units, lambda _: np.full(units, bias, np.float64))
    return found


@dataclass(frozen=True, slots=True)
class Bound:
    """A layer bound into buffers: two closures and the arrays that may be looked at."""

    forward: Callable[[Array, bool], Array]
    """(x, training) → y; x (batch, *input shape), y is `output`, valid until the next call."""
    backward: Callable[[Array], Array]
    """dL/dy → dL/dx, which is `input_gradient`; fills the gradients of the parameters."""
    output: Array
    input_gradient: Array
    start: Callable[[Array], Array] | None = None
    """Of a layer that starts from data: sets its parameters by x, the first batch, and gives y."""
    weigh: Callable[[Array, Array, slice], None] | None = None
    """(x, dL/dy, units): fills the gradients of the parameters of these units. Only of a layer
    where that is most of the work: threads then share it by units, not by examples."""


def start_row(row: Sequence[Bound], x: Array) -> Array:
    """Let the layers in `row` that start from data do so with the first batch x; return y."""
    for layer in row:
        x = layer.forward(x, True) if layer.start is None else layer.start(x)
    return x


def starts(row: Sequence[Bound]) -> bool:
    """Tell whether a layer in `row` starts from data."""
    return any(layer.start is not None for layer in row)


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of a batch, for which a layer is bound again (`engine.network.batch_shards`)."""

    rank: int  # from 0
    rows: slice
    examples: int  # in the whole batch
    lent: Iterator[Array]  # the arrays over the whole batch, as the layer asked for them
    barrier: Barrier  # of all shards
    later: bool  # `weigh` is asked for when all have gone backwards


@dataclass(frozen=True, slots=True)
class Scope:
    """What a layer binds into: a batch size on a back-end, its parameters, and its buffers."""

    backend: Backend
    batch: int
    parameters: Mapping[str, Array]
    gradients: Mapping[str, Array]
    state: Mapping[str, Array]  # kept, not trained: running averages
    backwards: bool = True  # False: only forward will run, no gradient buffers are needed
    input_gradient: bool = True  # False: nobody asks for dL/dx of the first layer
    hyper: MutableMapping[str, float] = field(default_factory=dict)  # read at every step
    noise: np.random.Generator = field(default_factory=np.random.default_rng)  # for masks

    shard: Shard | None = None  # of the batch, if it is not all of it
    lent: list[Array] = field(default_factory=list)  # to shards, which take rows of the same

    def of(self, shard: Shard, batch: int, gradients: Mapping[str, Array]) -> "Scope":
        """Return the scope of `batch` rows of this one, which write `gradients`."""
        return replace(self, shard=shard, batch=batch, gradients=gradients)

    @property
    def examples(self) -> int:
        """How many examples the whole batch has."""
        return self.batch if self.shard is None else self.shard.examples

    @property
    def leads(self) -> bool:
        """Whether to change what all shards of a batch have in common: one of them does."""
        return self.shard is None or self.shard.rank == 0

    def buffer(self, shape: Shape) -> Array:
        """Allocate (batch, *shape), written in every forward pass."""
        return self._rows((self.batch, *shape))

    def ones(self) -> Array:
        """Allocate (batch,) ones: `ones @ x` sums over the batch, 3 × as fast as `sum(axis=0)`."""
        return self.backend.full((self.batch,), 1.0)

    def gradient(self, shape: Shape) -> Array:
        """Allocate (batch, *shape), written in every backward pass; empty where there is none."""
        return self._rows((self.batch if self.backwards else 0, *shape))

    def _rows(self, shape: Shape) -> Array:
        if self.shard is not None:
            return next(self.shard.lent)[self.shard.rows]
        self.lent.append(self.backend.empty(shape))
        return self.lent[-1]

    def total(self, *shapes: Shape) -> Callable[..., Sequence[Array]]:
        """Return what gives, for arrays of these shapes, their sums over all shards of the batch.

        In the order of the shards, so that all get the same to the last bit; where there are none,
        the arrays themselves. Once in a pass: who asks again must meet the others in between.
        """
        empty = self.backend.empty
        if self.shard is None:
            self.lent.extend(empty((self.backend.thread_team.size, *shape)) for shape in shapes)
            return lambda *parts: parts
        rank, barrier = self.shard.rank, self.shard.barrier
        places = [(next(self.shard.lent), empty(shape)) for shape in shapes]

        def total(*parts: Array) -> Sequence[Array]:
            for (all_parts, _), part in zip(places, parts, strict=True):
                all_parts[rank] = part
            barrier.wait(rank)
            return [
                self.backend.xp.sum(all_parts, axis=0, out=whole) for all_parts, whole in places
            ]

        return total


@dataclass(frozen=True)
class Layer:
    """A frozen description; subclasses are dataclasses whose fields are the settings."""

    kind: ClassVar[str]
    weighted: ClassVar[bool] = False
    """Whether it has a parameter "weight": in what is shown, a new layer begins here."""
    activates: ClassVar[bool] = False
    """Whether it stands, by its own name, where a network is asked for an activation."""

    @property
    def inputs_per_unit(self) -> int:
        """Features that it takes for each one that it gives."""
        return 1

    over_images: ClassVar[bool] = False
    """Whether its input must be images (height, width, channels)."""

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
        """Return how the weights are drawn for an input of shape `x`; None where it is not known.

        None too where a unit does not see the whole input once: convolutions.
        """
        return None

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        """Return the first values of what is kept but not trained."""
        return {}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        """Allocate buffers for inputs of shape `x` and return the closures over them."""
        raise NotImplementedError
