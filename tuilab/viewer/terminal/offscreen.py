"""Pictures of a recorded run, drawn without a terminal: what `tuilab export` writes."""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from textual.pilot import Pilot

from engine.errors import ConfigError, UnknownNameError
from tuilab.process.launch import Worker
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.dashboard import TABS
from tuilab.viewer.model.claims import judge_folder
from tuilab.viewer.terminal.appearance import PICTURE
from tuilab.viewer.terminal.screenshot import panels, png, take

SIZE: Final = (160, 48)
POLLS: Final = 1000  # at which a run is given up that grows faster than it can be read


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be on a picture: `panel` alone, "" for all; the snapshot up to step `at`."""

    panel: str = ""
    size: tuple[int, int] = SIZE
    at: int | None = None
    theme: str | None = None


def write_svg(reader: RunReader, to: Path, **wanted: Any) -> list[Path]:
    """Write a picture of a run to the file `to`; `wanted` are fields of `Wanted`."""
    to.write_text(_draw(reader, wanted), encoding="utf-8")
    return [to]


def write_png(reader: RunReader, to: Path, **wanted: Any) -> list[Path]:
    """Write a picture of a run as PNG. Raises NoPngError."""
    to.write_bytes(png(_draw(reader, wanted)))
    return [to]


def _draw(reader: RunReader, wanted: Mapping[str, Any]) -> str:
    return asyncio.run(draw(RunFolder(reader.path.parent), Wanted(**wanted)))


async def draw(folder: RunFolder, wanted: Wanted) -> str:
    """Return a picture of a run as SVG. Raises UnknownNameError, ConfigError."""
    claims = judge_folder(folder)
    dress = replace(PICTURE, theme=wanted.theme or PICTURE.theme)
    app = ViewerApp(Worker(folder), judge=lambda _: claims, dress=dress)
    async with app.run_test(size=wanted.size) as pilot:
        app.stage.claims = claims
        await _read(app, pilot)
        if wanted.at is not None:
            _go_to(app, folder, wanted.at)
        await _settle(app, pilot)
        if wanted.panel:
            await _find(app, pilot, wanted.panel)
        try:
            return take(app, wanted.panel)
        finally:
            app.store.close()


async def _read(app: ViewerApp, pilot: Pilot[Worker]) -> None:
    """Read a long run over as many polls as it takes."""
    for _ in range(POLLS):
        step = app.store.step
        app.tick()
        await pilot.pause()
        if app.store.step == step:
            return


async def _settle(app: ViewerApp, pilot: Pilot[Worker]) -> None:
    app.stage.rearranged()
    await pilot.pause()
    app.tick()
    await pilot.pause()


def _go_to(app: ViewerApp, folder: RunFolder, at: int) -> None:
    """Show the newest snapshot that is not after the step `at`."""
    with RunReader(folder.database) as reader:
        steps = reader.snapshot_steps()
    if not steps:
        raise ConfigError("this run has no statistics yet", "--at")
    if at > steps[-1]:
        raise ConfigError(f"{at} is after its last statistics, of step {steps[-1]}", "--at")
    app.look(max(bisect_right(steps, at), 1) - len(steps))


async def _find(app: ViewerApp, pilot: Pilot[Worker], panel: str) -> None:
    """Give the tab that holds a panel the whole screen."""
    for tab in TABS:
        app.stage.show_overview()
        app.stage.toggle(tab)
        await _settle(app, pilot)
        if panel in panels(app):
            return
    names = [str(found.id) for found in app.stage.query(".panel")]
    raise UnknownNameError("panel", panel, names, "--panel")
