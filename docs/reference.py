"""Reference tables in Markdown, generated from the code that they describe.

A page asks for a table with a comment, `<!-- generated: keys -->`, behind which the table is
inserted when the site is built (see hooks.py). `python -m docs.reference NAME` prints one.
"""

import ast
import inspect
import re
import sqlite3
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import click
import msgspec

from engine.activations import activations
from engine.data.augmentation import augmentations
from engine.data.dataset import sources
from engine.data.preprocessing import preprocessors
from engine.initializers import initializers
from engine.layers.base import layers
from engine.losses import losses
from engine.optimization.optimizers import optimizers
from engine.optimization.schedules import schedules
from engine.registry import Registry
from engine.statistics.frames import FIELDS, PER_LAYER, TENSORS
from tuilab.claims.expectations import Expectation
from tuilab.claims.metrics import SCALARS
from tuilab.cli.main import tuilab
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.settings import Common
from tuilab.record.schema import FORMAT, SCHEMA
from tuilab.scenario.file_format import DataSection, Header, NetworkSection, TrainSection
from tuilab.scenario.search.pruners import pruners
from tuilab.scenario.search.samplers import samplers
from tuilab.scenario.search.settings import SearchTable, StageTable
from tuilab.scenario.search.space import KINDS
from tuilab.scenario.search.stop_rules import stop_rules
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.panels.layer.views import help_lines

MARKER: Final = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
SECTIONS: Final = {"run": "Training", "tour": "In the tour", "view": "The view"}
STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    "Before the first table": Header,
    "`[data]`": DataSection,
    "`[network]`": NetworkSection,
    "`[train]`": TrainSection,
    "`[[expect]]`": Expectation,
    "`[diagnosis]`": Common,
    "`[search]`": SearchTable,
    "`[[search.stage]]`": StageTable,
}
MEMBERS: Final = {
    "preprocess": "list of [preprocessing steps](members.md#preprocessing)",
    "augment": "list of [augmentations](members.md#augmentation)",
    "activation": "[activation](members.md#activations)",
    "initializer": "[initialiser](members.md#initialisers)",
    "batch_norm": "boolean or table (settings of [`batch_norm`](members.md#batch_norm))",
    "sampler": "[sampler](members.md#samplers)",
    "pruner": "[pruner](members.md#pruners)",
    "stop": "list of [stop rules](members.md#stop-rules)",
    "space": "table of ranges",
    "stage": "list of tables",
}
"""Types of the keys that the structs leave open, as a registry or another module checks them."""
UNBOUNDED: Final = 1e6  # a limit from here on only catches slips of the keyboard
FAMILIES: Final[dict[str, Registry[Any]]] = {
    "layers": layers,
    "activations": activations,
    "initializers": initializers,
    "losses": losses,
    "optimizers": optimizers,
    "schedules": schedules,
    "sources": sources,
    "preprocessing": preprocessors,
    "augmentation": augmentations,
    "samplers": samplers,
    "pruners": pruners,
    "stop-rules": stop_rules,
}


def fill(page: str) -> str:
    """Return a page with every table that it asks for. Raises KeyError for an unknown name."""
    return MARKER.sub(lambda match: f"{match[0]}\n\n{TABLES[match[1]]()}", page)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def code(text: object) -> str:
    """Return text set as code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown paragraphs. Raises ValueError where there is none."""
    if not docstring:
        raise ValueError("a documented member has no docstring")
    return inspect.cleandoc(docstring).replace("<", "&lt;").replace("*", "\\*")


# Commands


def commands() -> str:
    """Return every command with its help text, arguments and options."""
    return "\n".join(_commands(tuilab, "tuilab"))


def _commands(command: click.Command, name: str) -> Iterable[str]:
    context = click.Context(command, info_name=name, **command.context_settings)
    if name != "tuilab":
        pieces = " ".join(command.collect_usage_pieces(context))
        yield f"## `{name}`\n\n```text\n{name} {pieces}\n```\n"
        yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
        rows = [record for option in command.params if (record := option.get_help_record(context))]
        if rows:
            yield table(("option", "meaning"), [(code(names), help_) for names, help_ in rows])
        if command.epilog:
            yield f"{command.epilog}\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(found, f"{name} {child}")


# Keys


def keys() -> str:
    """Return the keys of the main screen, by section."""
    unknown = {action.section for action in ACTIONS} - set(SECTIONS)
    if unknown:
        raise KeyError(f"sections of actions without a title: {unknown}")
    parts = []
    for section, title in SECTIONS.items():
        rows = [
            (" ".join(code(key) for key in re.split(", | ", action.shown)), _sentence(action.help))
            for action in ACTIONS
            if action.section == section
        ]
        parts.append(f"### {title}\n\n{table(('key', 'effect'), rows)}")
    return "\n".join(parts)


def layer_keys() -> str:
    """Return the keys of the screen that shows one layer."""
    return table(("key", "effect"), [(code(key.strip()), text) for key, text in help_lines()])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# Scenario files


def scenario_keys() -> str:
    """Return the keys of each table of a scenario file with their types and defaults."""
    return "\n".join(
        f"### {title}\n\n{_settings_table(_struct_settings(cls))}" for title, cls in STRUCTS.items()
    )


def ranges() -> str:
    """Return the kinds of ranges that a search space may have."""
    return ", ".join(code(kind) for kind in KINDS) + "\n"


def family(registry: Registry[Any]) -> Callable[[], str]:
    """Return a function that describes the members of a registry."""

    def describe() -> str:
        parts = []
        for name, cls in sorted(registry.items()):
            parts.append(f"### `{name}`\n\n{prose(cls.__doc__)}\n")
            if settings := _dataclass_settings(cls):
                parts.append(_settings_table(settings))
        return "\n".join(parts)

    return describe


def diagnosis_rules() -> str:
    """Return the rules of the diagnosis with their docstrings and thresholds."""
    parts = []
    for name, cls in sorted(rules.items()):
        when = "at step 0" if cls.only_at_start else f"at every {cls.moment}"
        parts.append(f"### `{name}`\n\n{prose(cls.__doc__)}\n\nEvaluated {when}.\n")
        if settings := _dataclass_settings(cls):
            parts.append(_settings_table(settings))
    return "\n".join(parts)


Setting = tuple[str, str, str, str]  # name, type, default, description


def _settings_table(settings: Sequence[Setting]) -> str:
    """Return the settings as a table. Raises ValueError where one is not explained."""
    if unexplained := [name for name, *_, text in settings if not text]:
        raise ValueError(f"no comment or docstring explains {', '.join(unexplained)}")
    rows = [(code(name), kind, code(default), text) for name, kind, default, text in settings]
    return table(("key", "type", "default", "meaning"), rows)


def _struct_settings(cls: type[msgspec.Struct]) -> list[Setting]:
    hints, texts = get_type_hints(cls, include_extras=True), attribute_docstrings(cls)
    settings = []
    for field in msgspec.structs.fields(cls):
        default = "" if field.required else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        name = field.encode_name
        type_ = kind(hints[field.name])
        if "any" in type_.split():
            type_ = MEMBERS[name]
        settings.append((name, type_, toml(default), texts.get(name, "")))
    return settings


def _dataclass_settings(cls: type) -> list[Setting]:
    hints, texts = get_type_hints(cls, include_extras=True), attribute_docstrings(cls)
    settings = []
    for field in fields(cls):
        default = "" if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        text = texts.get(field.name, "")
        settings.append((field.name, kind(hints[field.name]), toml(default), text))
    return settings


def attribute_docstrings(cls: type) -> dict[str, str]:
    """Return what is written about each attribute of a class.

    That is the string below it or, where there is none, the comment behind it.
    """
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.partition(".")[0] in ("engine", "tuilab"):
            texts |= _attribute_docstrings(owner)
    return texts


def _attribute_docstrings(cls: type) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(cls))
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    lines = source.splitlines()
    texts = {}
    for here, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        assert here.end_lineno is not None
        comment = lines[here.end_lineno - 1][here.end_col_offset :].strip()
        if comment.startswith("#"):
            texts[here.target.id] = comment.lstrip("# ")
        match after:
            case ast.Expr(value=ast.Constant(value=str(text))):
                texts[here.target.id] = text
    return texts


def kind(hint: Any) -> str:
    """Return a type as a reader of a scenario file would name it, with its bounds."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        meta = arguments[1]
        bounds = [
            f"{sign} {value:g}"
            for sign, value in (
                *(("≥", meta.ge), (">", meta.gt)),
                *(("≤", meta.le), ("<", meta.lt)),
            )
            if value is not None and value < UNBOUNDED
        ]
        return " ".join([kind(arguments[0]), *bounds])
    if origin is Literal:
        return " or ".join(toml_code(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(kind(part) for part in arguments if part is not NoneType)
    if origin in (tuple, list) or (origin is not None and issubclass(origin, Sequence)):
        return f"list of {kind(arguments[0])}"
    if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        return f"table ({', '.join(code(f.encode_name) for f in msgspec.structs.fields(hint))})"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", Any: "any"}
    return names.get(hint, getattr(hint, "__name__", str(hint)).lower())


def toml(value: Any) -> str:
    """Return a default as a scenario file would write it, "" where there is none."""
    match value:
        case None | "":
            return ""
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
        case tuple() | list():
            return f"[{', '.join(toml(part) for part in value)}]" if value else ""
        case dict():
            return "" if not value else str(value)
    return type(value).__name__.lower()


def toml_code(value: Any) -> str:
    """Return a value of a scenario file set as code."""
    return code(toml(value))


# Metrics and the record


def check_metrics(page: str) -> None:
    """Raise ValueError where a page leaves out a metric, a tensor or a field."""
    named = set(re.findall(r"`([^`]+)`", page))
    missing = [name for name in (*SCALARS, *TENSORS, *FIELDS, *PER_LAYER) if name not in named]
    if missing:
        raise ValueError(f"the page of metrics does not describe {', '.join(missing)}")


def record_schema() -> str:
    """Return the tables of `run.db` with their columns, as SQLite reports them."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    parts = [f"Format {FORMAT} (`PRAGMA user_version`).\n"]
    names = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY rowid"
    for (name,) in connection.execute(names):
        columns = connection.execute(f"PRAGMA table_info('{name}')").fetchall()
        rows = [
            (code(column), type_.lower(), _constraint(bool(required), key))
            for _, column, type_, required, _, key in columns
        ]
        parts.append(f"### `{name}`\n\n{table(('column', 'type', ''), rows)}")
    connection.close()
    return "\n".join(parts)


def _constraint(required: bool, key: int) -> str:
    return "primary key" if key else "not null" if required else ""


TABLES: Final[dict[str, Callable[[], str]]] = {
    "commands": commands,
    "keys": keys,
    "layer-keys": layer_keys,
    "scenario-keys": scenario_keys,
    "ranges": ranges,
    "rules": diagnosis_rules,
    "record": record_schema,
    **{name: family(registry) for name, registry in FAMILIES.items()},
}


if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        print(TABLES[name]())
