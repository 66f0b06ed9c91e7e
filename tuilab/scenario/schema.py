"""`tuilab schema`: the scenario format as JSON Schema, for completion and checks in editors.

The schema is derived from the structs and registries that read the files, so it includes every new
member. What a schema cannot express (matching shapes, names of metrics) is left to `tuilab run`,
which also reports it better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.activations import activations
from engine.data.augmentation import augmentations
from engine.data.dataset import sources
from engine.data.preprocessing import preprocessors
from engine.initializers import initializers
from engine.layers.base import Layer, layers
from engine.layers.batch_norm import BatchNorm
from engine.losses import losses
from engine.network import activation_choices
from engine.optimization.optimizers import optimizers
from engine.optimization.schedules import schedules
from engine.registry import Registry
from tuilab.claims.expectations import Expectation
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.settings import Common
from tuilab.scenario.file_format import DEFAULTS, DataSection, Header, NetworkSection, TrainSection
from tuilab.scenario.layer_tables import FAMILIES
from tuilab.scenario.search.pruners import pruners
from tuilab.scenario.search.samplers import samplers
from tuilab.scenario.search.settings import SearchTable, StageTable
from tuilab.scenario.search.space import CHOICE, KINDS
from tuilab.scenario.search.stop_rules import stop_rules

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PLAIN: Final[dict[Any, Schema]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
}


def schema() -> Schema:
    """Return the schema of a scenario file."""
    document = _object(_struct(Header), "A tuilab scenario") | {"required": ["data", "network"]}
    layer_table = {"anyOf": [*_tables(layers), *_tables(activations)]}
    document["properties"] |= {
        "data": _data(),
        "network": _network(),
        "layer": {"type": "array", "items": {"$ref": "#/$defs/layer"}},
        "loss": _family(losses, DEFAULTS["loss"]),
        "optimizer": _family(optimizers, DEFAULTS["optimizer"]),
        "schedule": _family(schedules, DEFAULTS["schedule"]),
        "train": _object(_struct(TrainSection), "Length and precision of training"),
        "expect": {"type": "array", "items": _expectation()},
        "diagnosis": _diagnosis(),
        "search": _search(),
        "variant": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "pattern": "^[A-Za-z0-9_]+$"}},
                "required": ["name"],
            },
        },
    }
    return {"$schema": DIALECT, "title": "tuilab scenario", **document, "$defs": {
        "layer": layer_table,
        "initializer": _family(initializers),
        "activation": _family(activations),
    }}  # fmt: skip


def _object(properties: Mapping[str, Schema], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _struct(cls: type[msgspec.Struct]) -> dict[str, Schema]:
    """Return the properties of a struct, with all references expanded."""
    (whole,), parts = msgspec.json.schema_components([cls], ref_template="{name}")
    table: dict[str, Schema] = parts[cls.__name__]["properties"] if parts else whole["properties"]
    return {name: _resolved(value, parts) for name, value in table.items()}


def _resolved(value: Any, parts: Mapping[str, Any]) -> Any:
    match value:
        case {"$ref": str(name)}:
            return _resolved(parts[name], parts)
        case dict():
            return {key: _resolved(inner, parts) for key, inner in value.items()}
        case list():
            return [_resolved(inner, parts) for inner in value]
    return value


def _family(registry: Registry[Any], default: str = "") -> Schema:
    """Return the schema of a member: its name, a call such as "pca(64)", or a table of settings.

    A table without a name has settings of the `default`.
    """
    names = "|".join(sorted(registry))
    text = {"type": "string", "anyOf": [{"enum": sorted(registry)}, {"pattern": rf"^({names})\("}]}
    return {"description": f"One {registry.kind}", "anyOf": [text, *_tables(registry, default)]}


def _tables(registry: Registry[Any], default: str = "") -> list[Schema]:
    return [_member(name, cls, named=name != default) for name, cls in sorted(registry.items())]


def _member(name: str, cls: type, key: str = "name", *, named: bool = True) -> Schema:
    required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
    description, *_ = (cls.__doc__ or "").strip().split("\n")
    table = _object({key: {"const": name}, **_settings(cls)}, description)
    return table | {"required": [key] * named + required}


def _settings(cls: Any) -> dict[str, Schema]:
    hints = get_type_hints(cls)
    return {f.name: _of_type(hints[f.name]) for f in fields(cls)}


def _of_type(hint: Any) -> Schema:
    if hint in FAMILIES:
        return {"$ref": f"#/$defs/{FAMILIES[hint].kind.replace('initialiser', 'initializer')}"}
    if hint == Sequence[Layer]:
        return {"type": "array", "items": {"$ref": "#/$defs/layer"}}
    if hint in PLAIN:
        return PLAIN[hint]
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        absent = [{"const": False}] if NoneType in get_args(hint) else []
        return {"anyOf": [*(_of_type(kind) for kind in kinds), *absent]}
    return {}


def _data() -> Schema:
    common = _struct(DataSection) | {
        "preprocess": {"type": "array", "items": _family(preprocessors)},
        "augment": {"type": "array", "items": _family(augmentations)},
    }
    tables = []
    for name, cls in sorted(sources.items()):
        table = _member(name, cls, key="source")
        tables.append(table | {"properties": common | table["properties"]})
    return {"description": "The data set and how it is prepared", "anyOf": tables}


def _network() -> Schema:
    properties = _struct(NetworkSection) | {
        "activation": _family(activation_choices()),
        "initializer": {"$ref": "#/$defs/initializer"},
        "batch_norm": {"anyOf": [{"type": "boolean"}, _object(_settings(BatchNorm), "Settings")]},
    }
    return _object(properties, "The hidden layers; the output layer is added automatically")


def _expectation() -> Schema:
    return _object(_struct(Expectation), "A claim about a metric") | {"required": ["metric"]}


def _diagnosis() -> Schema:
    of_rules = {
        name: {"anyOf": [{"const": False}, {"type": "number"}, _object(_settings(cls), name)]}
        for name, cls in sorted(rules.items())
    }
    return _object(_struct(Common) | of_rules, "The rules that are active, and their thresholds")


def _search() -> Schema:
    members = {"sampler": _family(samplers), "pruner": _family(pruners), "space": _space()}
    stage = _object(_struct(StageTable) | members, "One stage of a search")
    own = {
        "stop": {"type": "array", "items": _family(stop_rules)},
        "stage": {"type": "array", "items": stage},
    }
    return _object(
        _struct(SearchTable) | members | own, "Objective and search space of tuilab search"
    )


def _space() -> Schema:
    ends = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    kinds = dict.fromkeys(KINDS, ends) | {CHOICE: {"type": "array", "minItems": 1}}
    ranges = [_object({name: kind}, name) | {"required": [name]} for name, kind in kinds.items()]
    return {
        "description": "Keys of the scenario, in quotes, with a range or a choice for each",
        "type": "object",
        "additionalProperties": {"anyOf": [ends, *ranges, {"type": "object"}]},
    }
