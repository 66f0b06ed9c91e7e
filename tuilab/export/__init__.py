"""`tuilab export`: a recorded run in the formats of other tools, one file a format.

A format registers a function from an open run and a target path to the files it wrote.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from engine.errors import ConfigError, UnknownNameError
from tuilab.errors import RunError
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """What a picture shows: one `panel` or all, the newest snapshot up to step `at`."""

    panel: str | None = None
    size: tuple[int, int] | None = None  # columns and rows
    at: int | None = None
    theme: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """Where a format's code is, and what its target is called beside the run."""

    module: str  # imported on use
    suffix: str  # of a file; "" for a folder
    function: str = "write"
    picture: bool = False  # the function takes PictureOptions too


FORMATS: Final = {
    "csv": Format("tuilab.export.csv", ""),
    "json": Format("tuilab.export.json", ".json"),
    "tensorboard": Format("tuilab.export.tensorboard", ""),
    "svg": Format("tuilab.export.picture", ".svg", "write_svg", picture=True),
    "png": Format("tuilab.export.picture", ".png", "write_png", picture=True),
}


def export(
    folder: RunFolder, to: str, out: Path | None = None, picture: PictureOptions = PictureOptions()
) -> list[Path]:
    """Write a run as the format `to`; return the files. Raises ConfigError, RunError.

    `out` is the file or folder to write, by default inside the run folder: export/<format>.
    """
    if to not in FORMATS:
        raise UnknownNameError("format", to, FORMATS, "--to")
    chosen = FORMATS[to]
    given = next((name for name, value in asdict(picture).items() if value is not None), "")
    if given and not chosen.picture:
        raise ConfigError(f"goes with pictures, not with {to}", f"--{given}")
    target = out or folder.path / "export" / f"{to}{chosen.suffix}"
    write: Callable[..., list[Path]] = getattr(import_module(chosen.module), chosen.function)
    try:
        (target.parent if chosen.suffix else target).mkdir(parents=True, exist_ok=True)
        with RunReader(folder.database) as reader:
            return write(reader, target, *[picture] * chosen.picture)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}") from error
