"""The available scenarios by chapter of the lecture: those in ./scenarios, or the package's own.

A chapter is a folder, or else the value of the key `lecture` in the file. Files are not validated,
so that the list is quick and a broken file does not affect the others.
"""

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tuilab.errors import ScenarioError

HERE: Final = Path("scenarios")
INSTALLED: Final = Path(__file__).parents[1] / "scenarios"
CHAPTERS: Final = {
    "activations": "activation functions",
    "data": "data preprocessing",
    "initialization": "weight initialization",
    "batch_norm": "batch normalization",
    "babysitting": "babysitting the learning process",
    "search": "hyperparameter search",
}
"""Folders and the lecture's titles for them, in its order."""
ORDER: Final = tuple(CHAPTERS.values())
OTHERS: Final = "other scenarios"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A scenario as lists show it."""

    path: Path
    chapter: str
    title: str = ""
    question: str = ""
    look_at: str = ""
    claims: tuple[str, ...] = ()
    problem: str = ""  # why it cannot be read

    @property
    def name(self) -> str:
        return self.path.stem


def folder() -> Path:
    """Return ./scenarios, or else the package's folder of scenarios."""
    return HERE if HERE.is_dir() else INSTALLED


def entries(root: Path | None = None) -> list[CatalogEntry]:
    """Return the scenarios below `root`, chapter by chapter in the lecture's order.

    Within a chapter they follow the order of its README, then their names. Raises ScenarioError
    if there are none.
    """
    root = folder() if root is None else root
    listed = [_entry(path, root) for path in root.rglob("*.toml")]
    if not listed:
        raise ScenarioError(f"{root}/ contains no scenarios (*.toml); change to their folder")
    readme = _readme(root)

    def place(entry: CatalogEntry) -> tuple[bool, int, str, int, str]:
        chapter = ORDER.index(entry.chapter) if entry.chapter in ORDER else len(ORDER)
        named = readme.find(f"({entry.path.relative_to(root).as_posix()})")
        within = named if named >= 0 else len(readme)
        return entry.chapter == OTHERS, chapter, entry.chapter, within, entry.name

    return sorted(listed, key=place)


def chapters(listed: Sequence[CatalogEntry]) -> list[tuple[str, list[CatalogEntry]]]:
    """Return (chapter, its scenarios) pairs in the order of `listed`."""
    return [(chapter, list(group)) for chapter, group in groupby(listed, lambda e: e.chapter)]


def resolve(path: Path) -> Path:
    """Return the file for a path or the bare name of a scenario.

    A path to a file is returned as it is; a name without a suffix is looked up among the scenarios.
    Raises ScenarioError if no scenario has that name.
    """
    if path.is_file() or path.suffix == ".toml" or path.is_absolute() or not path.name:
        return path
    if (beside := path.with_name(f"{path.name}.toml")).is_file():
        return beside
    names: list[str] = []
    for root in (HERE, INSTALLED):
        files = sorted(root.rglob("*.toml"))
        for file in files:
            if path in (relative := file.relative_to(root).with_suffix(""), Path(relative.name)):
                return file
        names += [file.stem for file in files]
    near = get_close_matches(path.name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ScenarioError(
        f"{path}: no scenario file or scenario of that name{hint} "
        "(tuilab tour --list shows all scenarios)"
    )


def listing(listed: Sequence[CatalogEntry]) -> str:
    """Return the list as text: chapters, and a line with its question per scenario."""
    width = max(len(entry.name) for entry in listed)
    blocks = []
    for chapter, group in chapters(listed):
        lines = [f"  {e.name:<{width}}  {e.problem or e.question or e.title}" for e in group]
        blocks.append("\n".join([chapter, *lines]))
    return "\n\n".join(blocks)


def _readme(root: Path) -> str:
    try:
        return (root / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _entry(path: Path, root: Path) -> CatalogEntry:
    inside = path.relative_to(root).parts[:-1]
    chapter = CHAPTERS.get(inside[0], inside[0].replace("_", " ")) if inside else ""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return CatalogEntry(path, chapter or OTHERS, problem=f"cannot be read: {error}")
    return CatalogEntry(
        path,
        chapter or _text(table, "lecture") or OTHERS,
        title=_text(table, "title"),
        question=_text(table, "question"),
        look_at=_text(table, "look_at"),
        claims=tuple(_claims(table.get("expect"))),
    )


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key, "")
    return value if isinstance(value, str) else ""


def _claims(expected: Any) -> list[str]:
    """Return the claims in words; malformed tables are left for a run to report."""
    claims = []
    with suppress(TypeError, AttributeError):
        claims = [entry["claim"] for entry in expected or () if "claim" in entry]
    return [claim for claim in claims if isinstance(claim, str)]
