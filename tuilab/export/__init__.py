"""`tuilab export`: a recorded run in the formats of other tools, one file a format.

A format registers a function from an open run and a target path to the files it wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from engine.errors import UnknownNameError
from tuilab.errors import RunError
from tuilab.recording import RunReader
from tuilab.runs import RunFolder

Write = Callable[[RunReader, Path], list[Path]]


@dataclass(frozen=True, slots=True)
class Format:
    """Where a format's code is, and what its target is called beside the run."""

    module: str  # has a function `write`; imported when it is asked for
    suffix: str  # of a file; "" for a folder


FORMATS: Final = {
    "csv": Format("tuilab.export.csv", ""),
    "json": Format("tuilab.export.json", ".json"),
    "tensorboard": Format("tuilab.export.tensorboard", ""),
    "svg": Format("tuilab.viewer.picture", ".svg"),
}


def export(folder: RunFolder, to: str, out: Path | None = None) -> list[Path]:
    """Write a run as the format `to`; return the files. Raises UnknownNameError, RunError.

    `out` is the file or folder to write, by default inside the run folder: export/<format>.
    """
    if to not in FORMATS:
        raise UnknownNameError("format", to, FORMATS, "--to")
    chosen = FORMATS[to]
    target = out or folder.path / "export" / f"{to}{chosen.suffix}"
    write: Write = import_module(chosen.module).write
    try:
        (target.parent if chosen.suffix else target).mkdir(parents=True, exist_ok=True)
        with RunReader(folder.database) as reader:
            return write(reader, target)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}") from error
