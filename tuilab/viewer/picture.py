"""A picture of the screen without a terminal: what `tuilab export --to svg` writes."""

import asyncio
from pathlib import Path
from typing import Final

from tuilab.launch import Worker
from tuilab.recording import RunReader
from tuilab.runs import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.claims import judge_folder

SIZE: Final = (160, 48)


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write the main screen of a run to the file `to`."""
    to.write_text(asyncio.run(draw(RunFolder(reader.path.parent))), encoding="utf-8")
    return [to]


async def draw(folder: RunFolder, size: tuple[int, int] = SIZE) -> str:
    """Return the main screen of a run, of `size` cells, as SVG."""
    claims = judge_folder(folder)
    app = ViewerApp(Worker(folder), judge=lambda _: claims)
    async with app.run_test(size=size) as pilot:
        app.stage.claims = claims
        while True:  # a long run is read over a few polls
            app.stage.redraw_curves()
            step = app.store.step
            app.tick()
            await pilot.pause()
            if app.store.step == step and app.store.snapshot is not None:
                break
        app.stage.rearranged()
        await pilot.pause()
        return app.export_screenshot(title=f"tuilab {folder.name}")
