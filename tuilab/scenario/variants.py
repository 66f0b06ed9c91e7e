"""`[[variant]]` tables: the changes to the file for each run of a comparison.

    [[variant]]
    name = "adam"
    optimizer.name = "adam"        # dotted keys or sub-tables: any key of the file

Tables are merged, values replaced. Where the member of a family changes, settings that only the old
member has are dropped; where a table overrides a bare name, it adds settings to it.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError, require
from tuilab.claims.expressions import VARIANTS
from tuilab.scenario.overrides import assign, merge, override, remove
from tuilab.toml_structs import Table, check_keys, shown


@dataclass(frozen=True, slots=True)
class Variant:
    """One run of a comparison: the file with its changes applied."""

    name: str
    table: Table  # without [[variant]], and without the expectations over several
    path: str  # key path of its table in the file: "variant[0]"
    changes: Table  # its table, without the name
    expectations: Sequence[int]  # indices in the file of the expectations in `table`

    def in_file(self, error: ConfigError) -> ConfigError:
        """Return an error in `table` with its key path in the file."""
        keys = error.path.replace("[", ".[").split(".")
        if keys[0] == "expect" and len(keys) > 1:
            keys[1] = f"[{self.expectations[int(keys[1].strip('[]'))]}]"
            return ConfigError(error.message, ".".join(keys).replace(".[", "["))
        node: Any = self.changes
        for key in keys:
            if not isinstance(node, dict):
                break
            if key not in node:
                return error
            node = node[key]
        return error.under(self.path)


def resolve(table: Table, allowed: Sequence[str], sets: Sequence[str] = ()) -> list[Variant]:
    """Return the runs of a file that has [[variant]] tables. Raises ConfigError.

    `allowed` are the keys that a variant may change. `sets` apply to every run, unless they name
    a place in the file: `variant[0].seed=3`, `expect[1].below=5`.
    """
    of_file = [text for text in sets if text.lstrip().startswith(("variant[", "expect["))]
    for assignment in of_file:
        override(table, assignment)
    entries = table["variant"]
    if not (isinstance(entries, list) and entries and all(isinstance(e, dict) for e in entries)):
        raise ConfigError("write each variant as a table [[variant]]", "variant")
    _check_names(entries)
    own, expected = _own_expectations(table.get("expect"))
    base = {key: value for key, value in table.items() if key not in ("variant", "expect")}
    variants = []
    for index, entry in enumerate(entries):
        changes = {key: value for key, value in entry.items() if key != "name"}
        path = f"variant[{index}]"
        if "expect" in changes:
            raise ConfigError(
                "expectations do not belong inside a variant; write [[expect]] with the metric "
                f'"{VARIANTS}{entry["name"]}.METRIC"',
                f"{path}.expect",
            )
        check_keys(changes, allowed, path, "key")
        whole = merge(base, changes)
        for assignment in sets:
            if assignment not in of_file:
                assign(whole, assignment)
                remove(changes, assignment.partition("=")[0].strip())  # no longer from the variant
        if expected is not None:
            whole["expect"] = copy.deepcopy(expected)
        variants.append(Variant(entry["name"], whole, path, changes, own))
    return variants


def _check_names(entries: Sequence[Table]) -> None:
    names: list[str] = []
    for index, entry in enumerate(entries):
        name, path = entry.get("name"), f"variant[{index}].name"
        if not isinstance(name, str) or not name.isascii() or not name.isidentifier():
            raise ConfigError(
                "a variant needs a name of letters, digits and _"
                + (f", got {shown(name)}" if "name" in entry else ""),
                path if "name" in entry else f"variant[{index}]",
            )
        require(name not in names, path, f"there are two variants '{name}'")
        names.append(name)


def _own_expectations(expect: Any) -> tuple[list[int], Any]:
    """Return the expectations about a single run: their indices in the file, and their tables."""
    if not isinstance(expect, list):
        return [], expect
    own = [index for index, entry in enumerate(expect) if not compares(entry)]
    return own, [expect[index] for index in own]


def compares(expectation: Any) -> bool:
    """Return whether an [[expect]] table is about several runs."""
    metric = expectation.get("metric") if isinstance(expectation, dict) else None
    return isinstance(metric, str) and VARIANTS in metric
