"""`[[layer]]` tables: any sequence of layers, where `network.hidden` is not enough.

    [[layer]]
    name = "conv2d"
    filters = 16
    padding = 1

    [[layer]]
    name = "relu"          # the name of an activation: a layer that applies it

The output layer is implicit: a linear layer with one unit per class follows, after a flatten where
one is needed. Pixel data is reshaped into images for a network that begins with an image layer.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Final, get_type_hints

from engine.activations import Activation, activations
from engine.errors import ConfigError, UnknownNameError
from engine.initializers import Initializer, initializers
from engine.layers.base import Layer, layers
from engine.layers.nonlinearity import Nonlinearity
from engine.registry import Registry
from tuilab.toml_structs import Table, check_keys, convert, join, member, shown

FAMILIES: Final[dict[Any, Registry[Any]]] = {Initializer: initializers, Activation: activations}
"""Settings of a layer that are members of a family, by their type."""


def parse_layer(table: Table, path: str) -> Layer:
    """Return the layer that a `[[layer]]` table at `path` describes. Raises ConfigError."""
    name = table.get("name")
    if name in activations:
        return Nonlinearity(member(activations, table, path))
    if not isinstance(name, str) or name not in layers:
        known = [*layers, *activations]
        raise UnknownNameError("layer", name if name is not None else "", known, join(path, "name"))
    cls = layers[name]
    settings = {key: value for key, value in table.items() if key != "name"}
    check_keys(settings, [field.name for field in fields(cls)], path, f"{name} setting")
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
        return parse_layers(value, path)
    if value is False and hint == float | None:
        return None  # bias = false: TOML has no null
    return convert(value, hint, path)


def parse_layers(tables: Any, path: str) -> tuple[Layer, ...]:
    """Return the layers that a list of tables describes. Raises ConfigError."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"write each layer as a table, got {shown(tables)}", path)
    return tuple(parse_layer(table, f"{path}[{index}]") for index, table in enumerate(tables))
