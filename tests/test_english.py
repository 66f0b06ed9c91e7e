"""User-visible text is plain present-day English: no archaic or translated turns of phrase.

Checked are the string constants of the code (messages, labels, help texts, and the docstrings of
commands), the help of all commands, the scenarios and the documentation. Comments, internal
docstrings and tests are left to review.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tuilab.cli.main import tuilab
from tuilab.diagnosis.base import rules

ROOT = Path(__file__).parents[1]

TICS = re.compile(
    "|".join(
        (
            r"\btold\b",
            r"\bstands?\b(?! for\b|-in)",
            r"\banew\b",
            r"\bso many\b",
            r"\btells? whether\b",
            r"\buntil now\b",
            r"\bis no (?:number|size|command|text|plain|name|scenario|run|search|list|table)\b",
            r"(?<!back and )\bforth\b",
            r"\bturn(?:ed)? round\b",
            r"\bon (?:its|their) way\b",
            r"\bhas found nothing\b",
            r"\bwho may come\b",
            r"\bmend(?:s|ed|ing)?\b",
            r"\blest\b",
            r"\bshall\b",
            r"\bheard\b",
            r"\beach time another\b",
            r"\bgoes? on with\b",
            r"\bis there already\b",
            r"\bit is so already\b",
            r"\blast word\b",
            r"\bcan be had\b",
            r"\bthrown about\b",
            r"\bwhat is no\b",
            r"\bsuch a one\b",
            r"\bhas made its\b",
            r"\bso (?:it|they|are|is) too\b",
            r"\bis looked at\b",
            r"×\S+ a (?:layer|step)\b",
        )
    ),
    re.IGNORECASE,
)
"""Turns of phrase to avoid; docs/ and CONTRIBUTING have the preferred wording."""


CODE = sorted([*(ROOT / "engine").rglob("*.py"), *(ROOT / "tuilab").rglob("*.py")])
TEXT = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "scenarios/**/*.md", "tests/benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
SCENARIOS = sorted((ROOT / "scenarios").rglob("*.toml"))


def names(paths: list[Path]) -> list[str]:
    """Return the paths relative to the repository, for the names of tests."""
    return [path.relative_to(ROOT).as_posix() for path in paths]


def tics(text: str) -> list[str]:
    """Return all matches of TICS in `text`."""
    return [match.group(0) for match in TICS.finditer(text)]


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of all constants that are docstrings or attribute docstrings."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def constants(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the string constants of several words in a module, without docstrings.

    A single word is a key, which may be any word.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if " " in text and id(node) not in skipped:
                yield node.lineno, text


def commands(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, help text) of a command and all its subcommands."""
    yield name, command.get_help(click.Context(command, info_name=name, **command.context_settings))
    if isinstance(command, click.Group):
        for inner, subcommand in command.commands.items():
            yield from commands(subcommand, f"{name} {inner}")


@pytest.mark.parametrize("name", names(CODE))
def test_messages_and_labels(name: str) -> None:
    found = [
        f"{line}: {tic}: {text!r}" for line, text in constants(ROOT / name) for tic in tics(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("name", "text"), [*commands(tuilab, "tuilab")])
def test_help(name: str, text: str) -> None:
    assert not tics(text), text


@pytest.mark.parametrize("name", sorted(rules))
def test_rules_of_the_diagnosis(name: str) -> None:
    """Their docstrings are shown in the view."""
    assert not tics(rules[name].__doc__ or "")


@pytest.mark.parametrize("name", names(TEXT))
def test_documentation(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [f"{line}: {tic}" for line, text in enumerate(lines, 1) for tic in tics(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", names(SCENARIOS))
def test_scenarios(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    tomllib.loads(text)
    assert not tics(text)


def test_the_tics_are_recognised() -> None:
    assert tics("It is told anew; '12x3' is no size.") == ["told", "anew", "is no size"]
    assert tics("on its way back it shrinks ×0.22 a layer") == ["on its way", "×0.22 a layer"]
    assert not tics("CSV stands for comma-separated values; go back and forth")
