"""What a layer is: a frozen description that binds once into buffers, and then runs many times."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.backend import Array, Backend
from engine.frames import FirstWeights
from engine.initializers import Initializer
from engine.registry import Registry

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


def start_row(row: Sequence[Bound], x: Array) -> Array:
    """Let the layers in `row` that start from data do so with the first batch x; return y."""
    for layer in row:
        x = layer.forward(x, True) if layer.start is None else layer.start(x)
    return x


def starts(row: Sequence[Bound]) -> bool:
    """Tell whether a layer in `row` starts from data."""
    return any(layer.start is not None for layer in row)


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

    def buffer(self, shape: Shape) -> Array:
        """Allocate (batch, *shape), written in every forward pass."""
        return self.backend.empty((self.batch, *shape))

    def ones(self) -> Array:
        """Allocate (batch,) ones: `ones @ x` sums over the batch, 3 × as fast as `sum(axis=0)`."""
        return self.backend.full((self.batch,), 1.0)

    def gradient(self, shape: Shape) -> Array:
        """Allocate (batch, *shape), written in every backward pass; empty where there is none."""
        return self.backend.empty((self.batch if self.backwards else 0, *shape))


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
