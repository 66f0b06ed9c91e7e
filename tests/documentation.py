"""The pages of the documentation, taken apart for the tests that run what they show."""

import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
}
SMALL: Final = ("std001_tanh", "std1_tanh", "xavier_relu", "he_relu", "batchnorm_relu")
STEPS: Final = 240
FEW: Final = "few/"
"""A folder with one small scenario, for commands that would otherwise train all of them."""


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language, without their indentation."""
    pattern = rf"^ *```{language}\n(.*?)^ *```$"
    return [textwrap.dedent(text) for text in re.findall(pattern, PAGES[page], re.M | re.S)]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a shell block, and the file that its output goes to, or ""."""

    words: tuple[str, ...]
    to: str = ""

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page's shell blocks; "a && b" is two."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                command, words = words[:end], words[end + 1 :]
                to = ""
                if ">" in command:
                    at = command.index(">")
                    command, (to,) = command[:at], command[at + 1 :]
                yield Command(tuple(command), to)


def tables(page: str, first_column: str) -> list[list[str]]:
    """Return the first cell of each row, of each table whose first column has that name."""
    found: list[list[str]] = []
    rows: list[str] | None = None
    for line in PAGES[page].splitlines():
        if not line.startswith("|"):
            rows = None
        elif rows is None:
            rows = []
            if line.split("|")[1].strip() == first_column:
                found.append(rows)
        elif not line.startswith("|---"):
            rows.append(re.split(r"(?<!\\)\|", line)[1].strip())
    return found


def write_small_scenarios(folder: Path) -> None:
    """Write the scenarios that the pages name, so small that each trains within a second."""
    for name in (*SMALL, "digits_mlp", "search/digits_coarse_to_fine"):
        table = tomllib.loads((ROOT / "scenarios" / f"{name}.toml").read_text(encoding="utf-8"))
        if name in SMALL:
            table["network"]["hidden"]["width"] = 20
        table["train"] = {"steps": STEPS, "checkpoint_every": 100}
        if "search" in table:
            _shorten(table["search"])
        _write(folder / "scenarios" / f"{name}.toml", table)
        if name == "he_relu":
            _write(folder / FEW / f"{name}.toml", table)


def _shorten(search: dict[str, Any]) -> None:
    search["space"] = {"optimizer.learning_rate": {"log": [1e-3, 1e-2]}}
    for stage in search["stage"]:
        stage |= {"trials": 1, "epochs": 1}


def _write(path: Path, table: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
