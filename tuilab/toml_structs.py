"""TOML tables → typed structs; errors name the place, the value and what is allowed."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from engine.errors import ConfigError, UnknownNameError
from engine.registry import Registry
from tuilab.errors import ScenarioError

T = TypeVar("T")
SHOWN: Final = 60  # characters of a value that a message repeats
Table = dict[str, Any]


def field_names(cls: type) -> list[str]:
    """Return the names of the settings of a dataclass or a struct."""
    if is_dataclass(cls):
        return [field.name for field in fields(cls)]
    return [field.encode_name for field in msgspec.structs.fields(cls)]


def check_keys(table: Mapping[str, Any], allowed: Iterable[str], path: str, kind: str) -> None:
    """Raise UnknownNameError for the first key of `table` that is not allowed."""
    names = list(allowed)
    for key in table:
        if key not in names:
            raise UnknownNameError(kind, key, names, join(path, key))


def convert(value: Any, cls: type[T] | Any, path: str) -> T:
    """Convert plain TOML values to `cls`; a wrong type or bound raises ConfigError at its path."""
    if isinstance(value, dict) and isinstance(cls, type):
        check_keys(value, field_names(cls), path, "key")
    try:
        converted: T = msgspec.convert(value, cls)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise _explain(problem, where.rstrip("`").lstrip("."), value, cls).under(path) from None
    except ConfigError as error:
        raise error.under(path) from None
    return converted


def _explain(problem: str, where: str, value: Any, cls: type) -> ConfigError:
    """Turn msgspec's `problem` at `where` in `value` into an error with the value and the choices.

    msgspec reports neither the value nor, for words, the allowed ones.
    """
    culprit = value
    for key in re.findall(r"\w+", where):
        culprit = culprit[int(key) if isinstance(culprit, list) else key]
    words = _words(get_type_hints(cls).get(where))
    if words and isinstance(culprit, str):
        return UnknownNameError("value", culprit, words, where)
    problem = problem[:1].lower() + problem[1:].split(", got")[0].replace("`", "'")
    problem = problem.replace("object missing required field", "this table lacks the key")
    problem = problem.replace("object", "table")  # msgspec uses the terms of JSON
    if words:
        problem += f" or {' or '.join(map(repr, words))}"
    if isinstance(value, dict) and culprit is not value:
        problem += f", got {shown(culprit)}"
    return ConfigError(problem, where)


def _words(hint: Any) -> list[str]:
    """Return the words that a type allows: "all" of `int | Literal["all"]`."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for part in get_args(hint) for word in _words(part)]


def shown(value: Any) -> str:
    """Return `value` for a message, shortened if necessary."""
    return clipped(repr(value))


def clipped(text: str) -> str:
    """Return `text`, shortened to SHOWN characters."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def member(registry: Registry[T], value: Any, path: str) -> T:
    """Return a member of a family from its name, or from a table with `name` and settings.

    "pca(64)" is short for { name = "pca", k = 64 }: settings in their order.
    """
    if isinstance(value, str):
        value = called(registry, value, path)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError(
            f"expected the name of {article(registry.kind)} ({', '.join(sorted(registry))}) or "
            f'a table {{ name = "…", … }}, got {shown(value)}',
            path,
        )
    settings = {key: setting for key, setting in value.items() if key != "name"}
    try:
        cls = registry[value["name"]]
    except UnknownNameError as error:
        raise error.under(path) from None
    check_keys(settings, field_names(cls), path, f"{value['name']} setting")
    return convert(settings, cls, path)


def called(registry: Registry[T], text: str, path: str) -> Table:
    """Return the table for a name, or for a name with settings in brackets."""
    name, bracket, rest = text.partition("(")
    name = name.strip()
    if not bracket or name not in registry:
        return {"name": text}
    try:
        values = tomllib.loads(f"values = [{rest.strip().removesuffix(')')}]")["values"]
    except tomllib.TOMLDecodeError:
        values = None
    names = field_names(registry[name])
    if values is None or not rest.strip().endswith(")") or len(values) > len(names):
        raise ConfigError(
            f"cannot read {shown(text)}, expected {name}({', '.join(names)})"
            + ("" if names else ": it has no settings"),
            path,
        )
    return {"name": name} | dict(zip(names, values, strict=False))


def article(noun: str) -> str:
    """Return "an optimizer", "a loss"."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def join(path: str, key: str) -> str:
    """Return the key path of `key` in the table at `path`."""
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def find_line(text: str, path: str) -> int | None:
    """Return the line of a key path in the TOML `text`, or that of its nearest parent.

    tomllib reports no positions; table headers and the first key of a line suffice to find them.
    """
    keys = path.replace("[", ".").replace("]", "").split(".")
    best, best_depth = None, 0
    section: list[str] = []
    counts: dict[tuple[str, ...], int] = {}  # index of the last table in each list
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("[["):
            place = _section(line[2:], counts)
            counts[tuple(place)] = counts.get(tuple(place), -1) + 1
            here = section = [*place, str(counts[tuple(place)])]
        elif line.startswith("["):
            here = section = _section(line[1:], counts)
        elif "=" in line and not line.startswith("#"):
            here = [*section, *line.split("=", 1)[0].strip().replace('"', "").split(".")]
        else:
            continue
        depth = min(len(here), len(keys))
        if here[:depth] == keys[:depth] and depth > best_depth:
            best, best_depth = number, depth
    return best


def _section(header: str, counts: Mapping[tuple[str, ...], int]) -> list[str]:
    """Return the key path of a table header, inside the last table of each enclosing list."""
    *outer, last = header.split("]")[0].replace(" ", "").split(".")
    place: list[str] = []
    for name in outer:
        place.append(name)
        if tuple(place) in counts:
            place.append(str(counts[tuple(place)]))
    return [*place, last]


def located(path: Path, text: str, error: ConfigError, sets: Sequence[str] = ()) -> ScenarioError:
    """Return `error` with the file and line, or the assignment, that caused it."""
    keys = error.path.replace("[", ".").split(".")
    for assignment in reversed(sets):
        given = assignment.partition("=")[0].strip().split(".")
        if all(a == b for a, b in zip(keys, given, strict=False)):
            return ScenarioError(f"{path} with --set {clipped(assignment)}: {error}")
    line = find_line(text, error.path) if error.path else None
    return ScenarioError(f"{path}:{line}: {error}" if line else f"{path}: {error}")


def read(path: Path) -> str:
    """Return the text of a scenario file. Raises ScenarioError, which lists the existing files."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except FileNotFoundError:
        raise ScenarioError(f"{path}: no such scenario file{_near(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from None


def _near(path: Path) -> str:
    """Return a hint with the most similar scenario, and the scenarios in the same folder."""
    names = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    near = get_close_matches(path.with_suffix(".toml").name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
    return hint + (f" ({path.parent}/ contains {', '.join(names)})" if names else "")
