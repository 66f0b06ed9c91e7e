"""The table of a scenario file → Scenario. Raises ConfigError with the key path."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from engine.data.augmentation import augmentations
from engine.data.dataset import Source, sources
from engine.data.preprocessing import preprocessors
from engine.errors import ConfigError, require
from engine.initializers import initializers
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.losses import losses
from engine.network import activation_choices
from engine.optimization.optimizers import optimizers
from engine.optimization.schedules import schedules
from engine.registry import Registry
from tuilab.claims.expectations import Expectation
from tuilab.diagnosis.settings import parse as parse_diagnosis
from tuilab.scenario.file_format import (
    DEFAULTS,
    SECTIONS,
    DataSection,
    Header,
    Hidden,
    NetworkSection,
    TrainSection,
)
from tuilab.scenario.layer_tables import parse_layers
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import parse as parse_search
from tuilab.toml_structs import Table, check_keys, convert, field_names, member, shown

T = TypeVar("T")


def parse(table: Table, name: str) -> Scenario:
    """Validate a whole scenario table. Raises ConfigError with the key path."""
    check_keys(table, [*field_names(Header), *SECTIONS], "", "key")
    if "layer" in table:
        table.setdefault("network", {})
    for section in ("data", "network", "train"):
        require(section in table, section, f"the table [{section}] is missing")
        value = table[section]
        require(isinstance(value, dict), section, f"must be a table, is {shown(value)}")
    data, source = _data(table["data"])
    if isinstance(inner := table["network"].get("hidden"), dict):
        check_keys(inner, field_names(Hidden), "network.hidden", "key")
    network: NetworkSection = convert(table["network"], NetworkSection, "network")
    hidden = network.hidden
    if isinstance(hidden, Hidden):
        hidden = (hidden.width,) * hidden.depth
    layers = parse_layers(table["layer"], "layer") if "layer" in table else ()
    _check_layers(table, layers)
    depth = sum(layer.weighted for layer in layers) or len(hidden)
    require(math.isfinite(network.bias), "network.bias", f"must be finite, is {network.bias}")
    train: TrainSection = convert(table["train"], TrainSection, "train")
    given = [key for key in ("epochs", "steps") if key in table["train"]]
    require(bool(given), "train", "give 'epochs' or 'steps'")
    require(len(given) == 1, "train", "give either 'epochs' or 'steps', not both")
    return Scenario(
        name=name,
        header=convert({k: v for k, v in table.items() if k not in SECTIONS}, Header, ""),
        data=data,
        source=source,
        preprocess=_members(preprocessors, data.preprocess, "data.preprocess"),
        augment=_members(augmentations, data.augment, "data.augment"),
        hidden=hidden,
        layers=layers,
        activation=member(activation_choices(), network.activation, "network.activation"),
        initializer=member(initializers, network.initializer, "network.initializer"),
        bias=network.bias,
        batch_norm=_batch_norm(network.batch_norm),
        loss=_member(losses, table, "loss"),
        optimizer=_member(optimizers, table, "optimizer"),
        schedule=_member(schedules, table, "schedule"),
        train=train,
        expect=tuple(
            Expectation.parse(entry, f"expect[{index}]", depth)
            for index, entry in enumerate(expectation_tables(table))
        ),
        diagnosis=parse_diagnosis(table.get("diagnosis", {}), "diagnosis"),
        search=parse_search(table["search"], "search", depth) if "search" in table else None,
        table=table,
    )


def expectation_tables(table: Table) -> list[Table]:
    """Return the [[expect]] tables of a file. Raises ConfigError where they are something else."""
    value = table.get("expect", [])
    require(
        isinstance(value, list) and all(isinstance(entry, dict) for entry in value),
        "expect",
        "write each expectation as a table [[expect]]",
    )
    return list(value)


def _data(table: Table) -> tuple[DataSection, Source]:
    common = field_names(DataSection)
    own = {key: value for key, value in table.items() if key not in common}
    section: DataSection = convert(
        {key: value for key, value in table.items() if key in common}, DataSection, "data"
    )
    try:
        cls = sources[section.source]
    except ConfigError as error:
        raise error.under("data.source") from None
    allowed = [*common, *field_names(cls)]
    check_keys(own, allowed, "data", f"{section.source} key")
    return section, convert(own, cls, "data")


def _batch_norm(value: Any) -> BatchNorm | bool:
    path = "network.batch_norm"
    if isinstance(value, dict):
        return convert(value, BatchNorm, path)
    require(isinstance(value, bool), path, f"expected 'bool' or a table, got {shown(value)}")
    return bool(value)


def _check_layers(table: Table, layers: Sequence[Layer]) -> None:
    network = table["network"]
    if not layers:
        require("hidden" in network, "network", "give hidden layers: network.hidden, or [[layer]]")
        return
    for key in ("hidden", "activation", "batch_norm"):
        require(
            key not in network,
            f"network.{key}",
            "cannot be combined with [[layer]] tables, which already define the layers",
        )
    require(
        any(layer.weighted for layer in layers),
        "layer",
        "no [[layer]] has weights; add one, such as linear or conv2d",
    )


def _member(registry: Registry[T], table: Table, key: str) -> T:
    """Return the member at a key; a table without a name has settings of the default one."""
    value = table.get(key, DEFAULTS[key])
    return member(
        registry, {"name": DEFAULTS[key]} | value if isinstance(value, dict) else value, key
    )


def _members(registry: Registry[T], entries: Iterable[Any], path: str) -> tuple[T, ...]:
    return tuple(member(registry, entry, f"{path}[{index}]") for index, entry in enumerate(entries))
