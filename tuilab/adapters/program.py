"""Starts a program as `python PROGRAM ARGS…` does, to be watched without a change to it.

The interpreter runs the program itself, so that nothing about it differs. What watches it comes in
by a folder first on PYTHONPATH, whose `sitecustomize` the interpreter imports at its start: see
`tuilab.adapters.startup`. Processes that the program starts are not watched.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tuilab.adapters.cadence import SHARE, Every
from tuilab.adapters.startup.sitecustomize import VARIABLE

STARTUP: Final = Path(__file__).parent / "startup"
BORROWED: Final = (
    "tuilab",
    "engine",
    "click",
    "msgspec",
    "platformdirs",
    "safetensors",
    "threadpoolctl",
    "tomli_w",
    "typing_extensions",
)
"""What a program's own environment may lack: the rest of what is needed, it has with torch."""
ENVIRONMENTS: Final = ("VIRTUAL_ENV", "CONDA_PREFIX")


@dataclass(frozen=True, kw_only=True)
class ProgramOptions:
    """How a program is watched."""

    out: Path  # the run folder, or that of the first run if there are several
    title: str = ""
    every: Every = SHARE
    layers: tuple[str, ...] = ()  # patterns of paths; empty: all
    logged: bool = False  # whether its output goes to the log of the run folder


@dataclass(frozen=True)
class Program:
    """A program, as the words after `python`: a file or `-m` and a module, and its arguments."""

    words: Sequence[str]
    python: str = sys.executable

    @property
    def name(self) -> str:
        """What its runs are called: "train" of train.py, and of `-m package.train`."""
        if self.words[0] == "-m":
            return self.words[1].removesuffix(".__main__").rpartition(".")[2]
        path = Path(self.words[0])
        return path.resolve().parent.name if path.name == "__main__.py" else path.stem

    @property
    def label(self) -> str:
        """What the view calls it: "train.py", "-m package.train"."""
        return " ".join(self.words[:2]) if self.words[0] == "-m" else Path(self.words[0]).name

    @property
    def command(self) -> list[str]:
        """The command line that runs it."""
        return [self.python, *self.words]

    def environment(
        self, options: ProgramOptions, base: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Return the environment that lets it be watched; the program itself sees `base`."""
        environment = dict(os.environ if base is None else base)
        before = environment.get("PYTHONPATH")
        settings = {
            "out": str(options.out.absolute()),
            "title": options.title,
            "every": options.every,
            "layers": options.layers,
            "logged": options.logged,
            "pythonpath": before,
            "startup": str(STARTUP),
            "packages": {name: folder for name in BORROWED if (folder := _folder(name))},
            "interpreter": sys.implementation.cache_tag,
        }
        path = [str(STARTUP), *([before] if before else [])]
        return environment | {VARIABLE: json.dumps(settings), "PYTHONPATH": os.pathsep.join(path)}


def _folder(name: str) -> str:
    """Return the folder that has a module or package here, or ""."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return ""
    origin = Path(spec.origin)
    return str(origin.parents[1] if spec.submodule_search_locations is not None else origin.parent)


def interpreter(environment: Mapping[str, str] | None = None) -> str:
    """Return the interpreter of the active environment; of tuilab's own, if none is active."""
    variables = os.environ if environment is None else environment
    for name in ENVIRONMENTS:
        prefix = variables.get(name)
        python = Path(prefix or ".", "bin", "python")
        if prefix and python.exists() and python.parents[1].resolve() != Path(sys.prefix).resolve():
            return str(python)
    return sys.executable
