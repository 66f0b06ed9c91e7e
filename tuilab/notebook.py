"""The screen of a run as a picture in a notebook: what a run at the end of a cell shows."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tuilab.export import PictureOptions
from tuilab.export.picture import draw
from tuilab.record.run_folder import RunFolder

SIZE: Final = (132, 40)


def picture(folder: Path, *, panel: str | None = None, size: tuple[int, int] = SIZE) -> str:
    """Return the screen of a run, or one of its panels, as SVG.

    It is drawn in a thread of its own: in a notebook, an event loop runs in this one. Raises
    UnknownNameError, RunError.
    """
    options = PictureOptions(panel=panel, size=size)
    with ThreadPoolExecutor(1, "tuilab picture") as thread:
        return thread.submit(lambda: asyncio.run(draw(RunFolder(folder), options))).result()
