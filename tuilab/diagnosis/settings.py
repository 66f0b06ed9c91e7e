"""`[diagnosis]` of a scenario file: which rules look, with which thresholds and what patience.

[diagnosis]
patience = 5                     # snapshots (or windows) for which a condition must hold
dead_units = false               # a rule switched off
saturation = 0.6                 # its first threshold
[diagnosis.low_learning_rate]    # its thresholds by name
update_ratio = 1e-5
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.errors import ConfigError, require
from tuilab.diagnosis.base import Rule, rules
from tuilab.toml_structs import check_keys, convert, field_names, join, shown

PATIENCE: Final = 3
LOOKS: Final = 16
"""Snapshots, evenly spread over a run, that the diagnosis asks for beside those taken by the clock:
enough for its patience in a run that is over within a second, and few in a long one."""


def spread(total_steps: int) -> set[int]:
    """Return the steps of LOOKS snapshots in a run of `total_steps`."""
    return {total_steps * look // LOOKS for look in range(LOOKS)}


def every_rule() -> dict[str, Rule]:
    """Return every rule with its default thresholds."""
    return {name: cls() for name, cls in rules.items()}


class Common(msgspec.Struct, frozen=True):
    """The keys of [diagnosis] beside the rules."""

    enabled: bool = True  # False turns off all rules
    patience: Annotated[int, Meta(ge=1)] = PATIENCE  # moments for which a condition must hold


@dataclass(frozen=True)
class Diagnosis:
    """The rules that look, by name."""

    patience: int = PATIENCE
    rules: Mapping[str, Rule] = field(default_factory=every_rule)


def parse(table: Any, path: str = "diagnosis") -> Diagnosis:
    """Validate the table at `path`. Raises ConfigError with the key path."""
    require(isinstance(table, dict), path, f"must be a table, is {shown(table)}")
    check_keys(table, [*field_names(Common), *rules], path, "key")
    common = {key: table[key] for key in field_names(Common) if key in table}
    of_all: Common = convert(common, Common, path)
    enabled = {}
    for name in rules:
        rule = _rule(name, table.get(name, True), join(path, name))
        if of_all.enabled and rule is not None:
            enabled[name] = rule
    return Diagnosis(of_all.patience, enabled)


def _rule(name: str, value: Any, path: str) -> Rule | None:
    """Return a rule from true, false (None), its first threshold, or a table of them."""
    cls = rules[name]
    names = field_names(cls)
    if value is False:
        return None
    table: Any = value
    if value is True:
        table = {}
    elif isinstance(value, int | float) and names:
        table = {names[0]: value}
    if not isinstance(table, dict):
        allowed = ["true", "false", *([f"a number ({names[0]})", "a table"] if names else [])]
        raise ConfigError(f"must be {' or '.join(allowed)}, is {shown(value)}", path)
    check_keys(table, names, path, f"threshold of rule '{name}'")
    rule: Rule = convert(table, cls, path)
    for setting in fields(cls):
        number = getattr(rule, setting.name)
        positive = math.isfinite(number) and number > 0
        require(positive, join(path, setting.name), f"must be positive, is {number}")
    return rule
