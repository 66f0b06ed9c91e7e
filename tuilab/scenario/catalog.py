"""The scenarios that are at hand, by chapter of the lecture: in ./scenarios, or the package's own.

A chapter is a folder there, or else what the key `lecture` of the file says. Only the heads of the
files are read, so that a list of them is quick and one that is broken spoils no other.
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
"""Folders, and the lecture's own words for them, in its order."""
ORDER: Final = tuple(CHAPTERS.values())
OTHERS: Final = "other scenarios"


@dataclass(frozen=True, slots=True)
class Entry:
    """A scenario as a list shows it."""

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
    """Return the folder of scenarios: the one here, or else that of the package."""
    return HERE if HERE.is_dir() else INSTALLED


def entries(root: Path | None = None) -> list[Entry]:
    """Return the scenarios below `root`, chapter by chapter in the lecture's order.

    Within a chapter they come as the README there names them, then by name.
    Raises ScenarioError where there is none.
    """
    root = folder() if root is None else root
    found = [_entry(path, root) for path in root.rglob("*.toml")]
    if not found:
        raise ScenarioError(f"{root}/ has no scenarios (*.toml); run this where they are")
    readme = _readme(root)

    def place(entry: Entry) -> tuple[bool, int, str, int, str]:
        chapter = ORDER.index(entry.chapter) if entry.chapter in ORDER else len(ORDER)
        named = readme.find(f"({entry.path.relative_to(root).as_posix()})")
        within = named if named >= 0 else len(readme)
        return entry.chapter == OTHERS, chapter, entry.chapter, within, entry.name

    return sorted(found, key=place)


def chapters(found: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Return the chapters of `entries`, each with its scenarios."""
    return [(chapter, list(group)) for chapter, group in groupby(found, lambda e: e.chapter)]


def resolve(path: Path) -> Path:
    """Return the file that a path, or the bare name of a scenario, means.

    What is a file is meant as such; a name with no ending is looked for among the scenarios. Raises
    ScenarioError where no scenario has that name.
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
        f"{path}: no such scenario, neither a file nor a name{hint} (tuilab tour --list shows them)"
    )


def listing(found: Sequence[Entry]) -> str:
    """Return the list as text: chapters, and each scenario with its question."""
    width = max(len(entry.name) for entry in found)
    blocks = []
    for chapter, group in chapters(found):
        lines = [f"  {e.name:<{width}}  {e.problem or e.question or e.title}" for e in group]
        blocks.append("\n".join([chapter, *lines]))
    return "\n\n".join(blocks)


def _readme(root: Path) -> str:
    try:
        return (root / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _entry(path: Path, root: Path) -> Entry:
    inside = path.relative_to(root).parts[:-1]
    chapter = CHAPTERS.get(inside[0], inside[0].replace("_", " ")) if inside else ""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Entry(path, chapter or OTHERS, problem=f"cannot be read: {error}")
    return Entry(
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
    """Return the claims in words; what is written otherwise is for a run to complain of."""
    claims = []
    with suppress(TypeError, AttributeError):
        claims = [entry["claim"] for entry in expected or () if "claim" in entry]
    return [claim for claim in claims if isinstance(claim, str)]
