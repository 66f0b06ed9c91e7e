"""`[[layer]]` tables: any row of layers, where `network.hidden` is not enough.

    [[layer]]
    name = "conv2d"
    filters = 16
    padding = 1

    [[layer]]
    name = "relu"          # the name of an activation stands for a layer that applies it

The output layer is not written down: a linear one with as many units as there are classes follows,
after a flatten where it is needed. Data that comes as pixels is laid out as images for a network
that begins with a layer over images.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Final, get_type_hints

from engine.activations import Activation, activations
from engine.data.dataset import Dataset
from engine.errors import ConfigError, UnknownNameError
from engine.initializers import Initializer, initializers
from engine.layers.base import Layer, Shape, layers
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.reshape import Flatten, Image
from engine.network import Network
from engine.registry import Registry
from tuilab.toml_structs import Table, check_keys, convert, join, member, shown

FAMILIES: Final[dict[Any, Registry[Any]]] = {Initializer: initializers, Activation: activations}
"""What is written by name inside a layer's table."""


def layer(table: Table, path: str) -> Layer:
    """Make the layer that a `[[layer]]` table at `path` describes. Raises ConfigError."""
    name = table.get("name")
    if name in activations:
        return Nonlinearity(member(activations, table, path))
    if not isinstance(name, str) or name not in layers:
        known = [*layers, *activations]
        raise UnknownNameError("layer", name if name is not None else "", known, join(path, "name"))
    cls = layers[name]
    settings = {key: value for key, value in table.items() if key != "name"}
    check_keys(settings, [field.name for field in fields(cls)], path, f"setting of layer '{name}'")
    hints = get_type_hints(cls)
    values = {key: _value(value, hints[key], join(path, key)) for key, value in settings.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise error.under(path) from None
    except TypeError:
        required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
        missing = [name for name in required if name not in values]
        raise ConfigError(f"layer '{name}' needs {', '.join(missing)}", path) from None


def _value(value: Any, hint: Any, path: str) -> Any:
    if hint in FAMILIES:
        return member(FAMILIES[hint], value, path)
    if hint == Sequence[Layer]:
        return row(value, path)
    if value is False and hint == float | None:
        return None  # bias = false: TOML has no word for nothing
    return convert(value, hint, path)


def row(tables: Any, path: str) -> tuple[Layer, ...]:
    """Make a row of layers from a list of tables. Raises ConfigError."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"write each layer as a table, got {shown(tables)}", path)
    return tuple(layer(table, f"{path}[{index}]") for index, table in enumerate(tables))


def complete(hidden: Sequence[Layer], data: Dataset, initializer: Initializer) -> Network:
    """Return `hidden` between the data's shape and its classes. Raises ShapeError."""
    begin: list[Layer] = []
    shape: Shape = (data.features,)
    if data.pixels is not None and hidden[0].over_images:
        begin.append(Image(*data.pixels))
    shape = Network([*begin, *hidden]).shapes(shape)[-1]
    end: list[Layer] = [Flatten()] if len(shape) > 1 else []
    return Network([*begin, *hidden, *end, Linear(len(data.classes), initializer)])
