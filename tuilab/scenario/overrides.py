"""Changes to the table of a scenario file: those of a variant, and those of `--set`.

Tables are merged, values replaced. Where the member of a family changes, settings that only the old
member has are dropped; where a table overrides a bare name, it adds settings to it.
"""

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.data.dataset import sources
from engine.errors import ConfigError
from engine.initializers import initializers
from engine.losses import losses
from engine.network import activation_choices
from engine.optimization.optimizers import optimizers
from engine.optimization.schedules import schedules
from engine.registry import Registry
from tuilab.toml_structs import Table, called, field_names, join, shown

FAMILIES: Final[dict[str, tuple[str, Registry[Any]]]] = {
    "data": ("source", sources),
    "network.activation": ("name", activation_choices()),
    "network.initializer": ("name", initializers),
    "loss": ("name", losses),
    "optimizer": ("name", optimizers),
    "schedule": ("name", schedules),
}
"""Tables that describe a member of a family, with the key that names the member."""
INSTEAD: Final = {
    "train.steps": ("train.epochs",),
    "train.epochs": ("train.steps",),
    "network.hidden": ("layer",),
    "layer": ("network.hidden", "network.activation", "network.batch_norm"),
}
"""Keys that replace others."""


def assign(table: Table, assignment: str) -> None:
    """Apply one `--set key=value` to `table`. Raises ConfigError."""
    override(table, assignment)
    for key in INSTEAD.get(assignment.partition("=")[0].strip(), ()):
        remove(table, key)


def merge(table: Table, changes: Table) -> Table:
    """Return a copy of a scenario's table with `changes` applied."""
    merged = copy.deepcopy(table)
    for key, others in INSTEAD.items():
        if _has(changes, key):
            for other in others:
                remove(merged, other)
    return _merged(merged, changes, "")


def _merged(base: Table, changes: Mapping[str, Any], path: str) -> Table:
    for key, value in changes.items():
        inner = join(path, key)
        old = base.get(key)
        if inner in FAMILIES and isinstance(value, dict):
            old = _member(old, value, inner)
        if isinstance(value, dict) and isinstance(old, dict):
            base[key] = _merged(old, value, inner)
        else:
            base[key] = copy.deepcopy(value)
    return base


def _member(old: Any, changes: Mapping[str, Any], path: str) -> Any:
    """Return the table of a family's member without the settings that the new member lacks."""
    name_key, family = FAMILIES[path]
    if isinstance(old, str):
        old = called(family, old, path)
    if not isinstance(old, dict):
        return old
    before, after = (table.get(name_key) for table in (old, changes))
    if not isinstance(before, str) or not isinstance(after, str):
        return old
    if before not in family or after not in family:
        return old  # parsing will reject the name
    dropped = {*field_names(family[before])} - {*field_names(family[after])}
    return {key: value for key, value in old.items() if key not in dropped}


def _has(table: Mapping[str, Any], path: str) -> bool:
    key, _, rest = path.partition(".")
    if key not in table or not rest:
        return key in table
    return isinstance(table[key], dict) and _has(table[key], rest)


def remove(table: Table, path: str) -> None:
    """Remove the key at `path` from a table, if present."""
    key, _, rest = path.partition(".")
    if not rest:
        table.pop(key, None)
    elif isinstance(table.get(key), dict):
        remove(table[key], rest)


def override(table: Table, assignment: str) -> None:
    """Apply one `--set key.path=value` to `table`; the value is TOML, or else a plain string.

    A path may address an element of an existing list: `expect[0].below`.
    """
    path, equals, text = assignment.partition("=")
    places = _places(path.strip())
    if not equals or not places:
        raise ConfigError(f"--set needs key=value, got '{assignment}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    node: Any = table
    for depth, place in enumerate(places):
        if depth + 1 == len(places):
            node[place] = value
            return
        inner = _path(places[: depth + 1])
        if inner in FAMILIES and inner != "data" and isinstance(node.get(place), str):
            node[place] = called(FAMILIES[inner][1], node[place], inner)
        node = node.setdefault(place, {}) if isinstance(node, dict) else node[place]
        _check_place(node, places[depth + 1], inner)


def _places(path: str) -> list[str | int]:
    """Split `expect[0].below` into its parts; return [] for a malformed path."""
    if not re.fullmatch(r"[^.\[\]]+(\[\d+\])*(\.[^.\[\]]+(\[\d+\])*)*", path):
        return []
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)
    return [int(number) if number else name for number, name in parts]


def _path(places: Sequence[str | int]) -> str:
    text = "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
    return text.lstrip(".")


def _check_place(node: Any, place: str | int, path: str) -> None:
    """Raise ConfigError unless `node` at `path` can contain `place`."""
    if isinstance(place, str):
        if not isinstance(node, dict):
            raise ConfigError(f"is {shown(node)}, not a table, so it has no key '{place}'", path)
    elif not isinstance(node, list) or place >= len(node):
        size = f"a list of {len(node)}" if isinstance(node, list) else f"{shown(node)}, not a list"
        raise ConfigError(f"is {size}, so it has no [{place}]", path)
