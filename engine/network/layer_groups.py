"""Layers as the lecture counts them: each begins at an array of weights.

A group is what is shown, measured, frozen and changed as one layer: weights, normalisation and
non-linearity.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import prod

from engine.activations import Activation, Identity, activations
from engine.layers.base import Layer, Shape
from engine.layers.nonlinearity import Nonlinearity
from engine.statistics.frames import LayerInfo


@dataclass(frozen=True, slots=True)
class Group:
    """A layer as the lecture counts, by positions in the network's sequence of layers."""

    weight: int  # of the layer with the weights, which comes first
    output: int  # of its non-linearity; of its last layer where there is none
    info: LayerInfo
    activation: Activation

    @property
    def pre_activation(self) -> int:
        """Position of the layer whose output goes into the non-linearity."""
        return max(self.weight, self.output - 1)


def boundaries(layers: Sequence[Layer]) -> list[int]:
    """Return the positions at which groups begin, and the end of the last."""
    return [*(at for at, layer in enumerate(layers) if layer.weighted), len(layers)]


def groups(layers: Sequence[Layer], shapes: Sequence[Shape]) -> list[Group]:
    """Return the groups of a network; `shapes` are those before each layer and after the last."""
    return [
        _group(layers, index, first, end, shapes)
        for index, (first, end) in enumerate(pairwise(boundaries(layers)), start=1)
    ]


def _group(
    layers: Sequence[Layer], index: int, first: int, end: int, shapes: Sequence[Shape]
) -> Group:
    members = layers[first:end]
    activation, name, output = _activation(layers, first, end)
    count = sum(
        prod(parameter.shape)
        for layer, shape in zip(members, shapes[first:end], strict=True)
        for parameter in layer.parameters(shape).values()
    )
    info = LayerInfo(
        index=index,
        name="output" if end == len(layers) else name,
        kind=members[0].kind,
        units=shapes[output + 1][-1],  # of images, the channels
        activation=name,
        normalization=next((layer.kind for layer in members if layer.normalizes), ""),
        parameters=count,
        first=members[0].first_weights(shapes[first]),
        settings=asdict(activation),
        between=_between(layers, first, end, output),
        sees=_sees(layers, first, shapes),
        path=str(index),
        role="output" if end == len(layers) else "hidden",
        bounds=activation.bounds,
        saturated=activation.saturated,
        silent_at=activation.silent_at,
    )
    return Group(first, output, info, activation)


def _activation(layers: Sequence[Layer], first: int, end: int) -> tuple[Activation, str, int]:
    """Return the last non-linearity of a group, its name, and its position.

    Without one, the identity at the last position; for a layer that acts as an activation, a
    plain `Activation` that knows no bounds and no saturation.
    """
    for position in reversed(range(first, end)):
        layer = layers[position]
        if isinstance(layer, Nonlinearity):
            return layer.activation, activations.name_of(layer.activation), position
        if layer.activates:
            return Activation(), layer.kind, position
    return Identity(), activations.name_of(Identity()), end - 1


def _between(layers: Sequence[Layer], first: int, end: int, activation: int) -> tuple[str, ...]:
    """Return the kinds of layers that theory does not know: see `signal_propagation`.

    It knows the weights, a normalisation of each unit before the non-linearity, and that.
    """
    begin = 0 if first == boundaries(layers)[0] else first  # the first also sees the data
    return tuple(
        layer.kind
        for position, layer in enumerate(layers[begin:end], start=begin)
        if position not in (first, activation)
        and not (layer.standardizes_units and position < activation)
        and not layer.flattens
    )


def _sees(layers: Sequence[Layer], position: int, shapes: Sequence[Shape]) -> Shape:
    """Return what a unit of a layer is connected to; for flattened images, the images."""
    if position and layers[position - 1].flattens:
        return shapes[position - 1]
    return layers[position].sees(shapes[position])
