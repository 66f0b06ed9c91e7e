"""The lecture's network of linear layers, and the activations that it can have."""

from collections.abc import Sequence

from engine.activations import Activation, activations
from engine.initializers import Initializer
from engine.layers.base import Layer, layers
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.network.network import Network
from engine.registry import Registry


def mlp(
    hidden: Sequence[int],
    classes: int,
    *,
    activation: Activation | Layer,
    initializer: Initializer,
    bias: float = 0.0,
    batch_norm: BatchNorm | bool = False,
) -> Network:
    """Return linear, [batch norm,] non-linearity for each number of `hidden` units, then linear.

    An activation that is a layer of its own (prelu, maxout) gets as many features as it needs to
    give `hidden` units. `bias` is the initial value of every bias. A linear layer before batch
    normalisation has no bias: subtracting the mean would undo it.
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
    """Return what `mlp` takes as an activation: the family, and layers that act as one."""
    choices: Registry[Activation | Layer] = Registry(activations.kind)
    for name, activation in activations.items():
        choices.register(name)(activation)
    for name, layer in layers.items():
        if layer.activates:
            choices.register(name)(layer)
    return choices
