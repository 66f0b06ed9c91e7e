"""`tuilab export`: a recorded run in the formats of other tools, one file a format.

A format registers a function from an open run and a target path to the files it wrote.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from engine.errors import ConfigError, UnknownNameError
from tuilab.errors import RunError
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder

Write = Callable[..., list[Path]]  # (reader, target, and the options of a picture)


@dataclass(frozen=True, slots=True)
class Format:
    """Where a format's code is, and what its target is called beside the run."""

    module: str  # imported on use
    suffix: str  # of a file; "" for a folder
    function: str = "write"
    picture: bool = False


FORMATS: Final = {
    "csv": Format("tuilab.export.csv", ""),
    "json": Format("tuilab.export.json", ".json"),
    "tensorboard": Format("tuilab.export.tensorboard", ""),
    "svg": Format("tuilab.viewer.terminal.offscreen", ".svg", "write_svg", picture=True),
    "png": Format("tuilab.viewer.terminal.offscreen", ".png", "write_png", picture=True),
}


def export(
    folder: RunFolder, to: str, out: Path | None = None, picture: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a run as the format `to`; return the files. Raises ConfigError, RunError.

    `out` is the file or folder to write, by default inside the run folder: export/<format>.
    `picture` has the options of a picture, by the names of the fields of
    `tuilab.viewer.terminal.offscreen.PictureOptions`.
    """
    if to not in FORMATS:
        raise UnknownNameError("format", to, FORMATS, "--to")
    chosen, picture = FORMATS[to], picture or {}
    if picture and not chosen.picture:
        raise ConfigError(f"goes with pictures, not with {to}", f"--{next(iter(picture))}")
    target = out or folder.path / "export" / f"{to}{chosen.suffix}"
    write: Write = getattr(import_module(chosen.module), chosen.function)
    try:
        (target.parent if chosen.suffix else target).mkdir(parents=True, exist_ok=True)
        with RunReader(folder.database) as reader:
            return write(reader, target, **picture)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}") from error
