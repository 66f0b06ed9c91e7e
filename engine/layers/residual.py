"""The residual block (He et al., 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from typing import Any, ClassVar

import numpy.typing as npt

from engine.backends.base import Array
from engine.errors import ShapeError, require
from engine.layers.base import (
    Bound,
    Layer,
    Parameter,
    Scope,
    Shape,
    layers,
    start_row,
    starts,
)


@layers.register("residual")
@dataclass(frozen=True)
class Residual(Layer):
    """y = x + f(x), where f applies `layers` in order and preserves the shape.

    The weight that represents the block is that of the first layer inside that has one.
    """

    kind: ClassVar = "residual"
    weighted: ClassVar = True
    layers: Sequence[Layer] = ()  # the layers inside the block

    def __post_init__(self) -> None:
        require(
            any(layer.weighted for layer in self.layers),
            "layers",
            "a residual block needs a layer that has weights",
        )

    @property
    def by_rows(self) -> bool:
        return all(layer.by_rows for layer in self.layers)

    def output_shape(self, x: Shape) -> Shape:
        inside = self._shapes(x)[-1]
        if inside != x:
            raise ShapeError(f"a residual block adds its input {x} to its output {inside}")
        return x

    def _shapes(self, x: Shape) -> list[Shape]:
        return list(accumulate(self.layers, lambda s, layer: layer.output_shape(s), initial=x))

    def sees(self, x: Shape) -> Shape:
        inside = zip(self.layers, self._shapes(x), strict=False)
        return next(layer.sees(shape) for layer, shape in inside if layer.weighted)

    def _name(self, position: int, name: str) -> str:
        first = next(i for i, layer in enumerate(self.layers) if layer.weighted)
        return name if (position, name) == (first, "weight") else f"{position}.{name}"

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        return {
            self._name(i, name): parameter
            for i, (layer, shape) in enumerate(zip(self.layers, self._shapes(x), strict=False))
            for name, parameter in layer.parameters(shape).items()
        }

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        return {
            self._name(i, name): first
            for i, (layer, shape) in enumerate(zip(self.layers, self._shapes(x), strict=False))
            for name, first in layer.state(shape).items()
        }

    def _inner(self, position: int, shape: Shape, scope: Scope) -> Scope:
        layer = self.layers[position]
        names = {name: self._name(position, name) for name in layer.parameters(shape)}
        states = {name: self._name(position, name) for name in layer.state(shape)}
        return replace(
            scope,
            parameters={name: scope.parameters[outer] for name, outer in names.items()},
            gradients={name: scope.gradients[outer] for name, outer in names.items()},
            state={name: scope.state[outer] for name, outer in states.items()},
            needs_input_gradient=scope.needs_input_gradient or position > 0 or not layer.weighted,
            prefix=f"{scope.prefix}{position}.",
        )

    def bind(self, x: Shape, scope: Scope) -> Bound:
        xp, shapes = scope.backend.xp, self._shapes(x)
        bound = [
            layer.bind(shape, self._inner(i, shape, scope))
            for i, (layer, shape) in enumerate(zip(self.layers, shapes, strict=False))
        ]
        y, dx = scope.output(x), scope.input_gradient(x)

        def forward(x: Array, training: bool) -> Array:
            inside = reduce(lambda a, layer: layer.forward(a, training), bound, x)
            xp.add(x, inside, out=y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            inside = reduce(lambda d, layer: layer.backward(d), reversed(bound), dy)
            if scope.needs_input_gradient:
                xp.add(dy, inside, out=dx)
            return dx

        def start(x: Array) -> Array:
            xp.add(x, start_row(bound, x), out=y)
            return y

        first = start if starts(bound) else None
        return Bound(forward, backward, y, dx, start=first, inside=bound)
