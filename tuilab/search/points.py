"""A point of the space as a scenario: the point's values override keys of the file."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.errors import ConfigError
from tuilab.scenario.overrides import assign, merge
from tuilab.scenario.parsing import parse
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import Search
from tuilab.scenario.search.space import Choice, Point
from tuilab.toml_structs import Table

SEARCH = "search"


def scenario_at(base: Scenario, point: Point, train: Mapping[str, int]) -> Scenario:
    """Return the scenario of a trial: `base` with the point's values. Raises ConfigError.

    `train` has the stage's keys of [train]. The result has no [search]: it is a single run.
    """
    table = {key: value for key, value in base.table.items() if key != SEARCH}
    table = merge(table, _nested(point, train))
    for key, value in point.items():
        if "[" in key:  # an element of a list: layer[2].units
            assign(table, f"{key}={json.dumps(value)}")
    scenario = parse(table, base.name)
    return msgspec.structs.replace(scenario, origin=base.origin)


def _nested(point: Point, train: Mapping[str, int]) -> Table:
    changes: Table = {"train": dict(train)} if train else {}
    for key, value in point.items():
        if "[" in key:
            continue
        *outer, last = key.split(".")
        node = changes
        for name in outer:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ConfigError("cannot be searched both as a whole and in part", key)
        node[last] = value
    return changes


def check_space(base: Scenario, search: Search) -> None:
    """Check that the scenario accepts both ends of all ranges. Raises ConfigError at the key."""
    for index, stage in enumerate(search.stages):
        outer = f"search.stage[{index}]" if index else SEARCH
        for key, parameter in stage.space.items():
            choices = parameter.values if isinstance(parameter, Choice) else parameter.points(2)
            for value in choices:
                try:
                    scenario_at(base, _middle(search) | {key: value}, stage.train)
                except ConfigError as error:
                    raise ConfigError(
                        f"the scenario does not accept {value!r} here: {error}",
                        f"{outer}.space.{key}",
                    ) from None


def _middle(search: Search) -> Point:
    return {key: parameter.points(1)[0] for key, parameter in search.stages[0].space.items()}


def is_allowed(base: Scenario, search: Search, key: str, value: Any) -> bool:
    """Return whether the scenario accepts `value` at `key`."""
    try:
        scenario_at(base, _middle(search) | {key: value}, {})
    except ConfigError:
        return False
    return True
