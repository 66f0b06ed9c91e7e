"""Scenario files → Scenario, ScenarioFile.

A file that cannot be used raises ScenarioError, which names the file, the line, the key path, the
value and what is allowed.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.data.dataset import sources
from engine.errors import ConfigError, require
from tuilab.claims.expectations import Expectation
from tuilab.errors import ScenarioError
from tuilab.scenario.file_format import SECTIONS, Header
from tuilab.scenario.overrides import assign
from tuilab.scenario.parsing import expectation_tables, parse
from tuilab.scenario.scenario import Scenario, ScenarioFile
from tuilab.scenario.variants import compares, resolve
from tuilab.toml_structs import Table, check_keys, field_names, located, read

T = TypeVar("T")


def load(path: Path, sets: Sequence[str] = (), variant: str = "") -> Scenario:
    """Read one run of the file at `path`, with the `--set` assignments applied.

    `variant` chooses the run where the file compares several. Raises ScenarioError.
    """
    return load_file(path, sets).run(variant)


def load_file(path: Path, sets: Sequence[str] = ()) -> ScenarioFile:
    """Read a scenario file with all its runs. Raises ScenarioError."""

    def interpret(table: Table) -> ScenarioFile:
        if "variant" in table:
            return _comparison(table, path, sets)
        for assignment in sets:
            assign(table, assignment)
        return ScenarioFile(path, {"": _run(table, path)})

    return _read(path, interpret, sets)


def load_expectations(path: Path, depths: Mapping[str, int]) -> tuple[Expectation, ...]:
    """Read the expectations over several runs that were saved beside them. Raises ScenarioError.

    `depths` are the numbers of hidden layers, by variant.
    """

    def interpret(table: Table) -> tuple[Expectation, ...]:
        return tuple(
            Expectation.parse(entry, f"expect[{index}]", 0, depths)
            for index, entry in enumerate(expectation_tables(table))
        )

    return _read(path, interpret)


def _read(path: Path, interpret: Callable[[Table], T], sets: Sequence[str] = ()) -> T:
    """Return what `interpret` makes of the file's table; its errors get the file and the line."""
    text = read(path)
    try:
        return interpret(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: nested too deeply") from None
    except ConfigError as error:
        raise located(path, text, error, sets) from None


def _run(table: Table, path: Path) -> Scenario:
    _anchor(table.get("data"), path.parent)
    return msgspec.structs.replace(parse(table, path.stem), origin=str(path))


def _anchor(data: Any, folder: Path) -> None:
    """Make paths in [data] to files in `folder` absolute, because a run has a different folder."""
    name = data.get("source") if isinstance(data, dict) else None
    for key in sources[name].path_settings if isinstance(name, str) and name in sources else ():
        path = data.get(key)
        with suppress(OSError, ValueError):  # too long, or invalid characters
            if isinstance(path, str) and (folder / path).is_file():
                data[key] = str((folder / path).resolve())


def _comparison(table: Table, path: Path, sets: Sequence[str]) -> ScenarioFile:
    keys = [*field_names(Header), *SECTIONS]
    check_keys(table, [*keys, "variant"], "", "key")
    require(
        "search" not in table,
        "search",
        "cannot be combined with [[variant]]; put the key that varies into [search.space]",
    )
    runs = {}
    for variant in resolve(table, keys, sets):
        try:
            run = _run(variant.table, path)
        except ConfigError as error:
            raise variant.in_file(error) from None
        runs[variant.name] = msgspec.structs.replace(run, variant=variant.name)
    depths = {name: run.depth for name, run in runs.items()}
    expect = tuple(
        Expectation.parse(entry, f"expect[{index}]", 0, depths)
        for index, entry in enumerate(table.get("expect", ()))
        if compares(entry)
    )
    for name, run in runs.items():
        steps = {step for expectation in expect for step in expectation.steps(name)}
        runs[name] = run.with_snapshots(steps)
    return ScenarioFile(path, runs, expect)
