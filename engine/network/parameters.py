"""One flat array for all parameters, one for their gradients, one for the layers' other state.

The optimiser, a checkpoint and weight decay then see one vector. Parameters that decay come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.backends.base import Array, Backend
from engine.layers.base import Parameter

Views = dict[str, Array]
Layout: TypeAlias = "Sequence[dict[str, tuple[int, tuple[int, ...]]]]"
"""For every layer, the start of its named arrays in a flat one, and their shapes."""


@dataclass(frozen=True, slots=True)
class ParameterStore:
    """Flat arrays on the device, and named views of them for every layer."""

    values: Array  # (P,)
    gradients: Array  # (P,)
    state: Array  # (S,)
    decaying: int  # the first `decaying` of P are under weight decay
    layout: Layout  # of P
    state_layout: Layout  # of S
    value_views: Sequence[Views]
    gradient_views: Sequence[Views]
    state_views: Sequence[Views]

    @property
    def weights(self) -> list[Array]:
        """The weights (inputs, units) of all layers, including those inside a layer."""
        return [
            view
            for views, named in zip(self.value_views, self.layout, strict=True)
            for name, view in views.items()
            if named[name][0] < self.decaying and view.ndim == 2
        ]

    def views(self, flat: Array) -> list[Views]:
        """Return views of `flat` (P,) with the layout of the parameters in `values`."""
        return _views(flat, self.layout)


def _views(flat: Array, layout: Layout) -> list[Views]:
    return [
        {
            name: flat[start : start + prod(shape)].reshape(shape)
            for name, (start, shape) in named.items()
        }
        for named in layout
    ]


def allocate(
    parameters: Sequence[dict[str, Parameter]],
    states: Sequence[dict[str, npt.NDArray[Any]]],
    backend: Backend,
    generator: np.random.Generator,
) -> ParameterStore:
    """Lay out the parameters of all layers and draw them from `generator`, in layer order."""
    layout: list[dict[str, tuple[int, tuple[int, ...]]]] = [{} for _ in parameters]
    size = decaying = 0
    for decays in (True, False):
        for named, places in zip(parameters, layout, strict=True):
            for name, parameter in named.items():
                if parameter.decays is decays:
                    places[name] = size, parameter.shape
                    size += prod(parameter.shape)
        decaying = size if decays else decaying
    values, gradients = backend.empty((size,)), backend.full((size,), 0.0)
    value_views = _views(values, layout)
    for layer, named in enumerate(parameters):
        for name, parameter in named.items():
            value_views[layer][name][...] = backend.to_device(parameter.draw(generator))
    state_layout, state = _allocate_state(states, backend)
    return ParameterStore(
        values,
        gradients,
        state,
        decaying,
        layout,
        state_layout,
        value_views,
        _views(gradients, layout),
        _views(state, state_layout),
    )


def _allocate_state(
    states: Sequence[dict[str, npt.NDArray[Any]]], backend: Backend
) -> tuple[Layout, Array]:
    flat = backend.empty((sum(first.size for named in states for first in named.values()),))
    layout: list[dict[str, tuple[int, tuple[int, ...]]]] = []
    start = 0
    for named in states:
        layout.append({})
        for name, first in named.items():
            layout[-1][name] = start, first.shape
            flat[start : start + first.size] = backend.to_device(first.reshape(-1))
            start += first.size
    return layout, flat
