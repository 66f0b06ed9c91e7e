"""Screenshots of a recorded run, drawn without a terminal: what `tuilab export` writes."""

import asyncio
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path
from typing import Final

from textual.pilot import Pilot

from engine.errors import ConfigError, UnknownNameError
from tuilab.export import PictureOptions
from tuilab.process.launch import Worker
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model.claims import judge_folder
from tuilab.viewer.panels.registry import TABS
from tuilab.viewer.terminal.appearance import REPRODUCIBLE
from tuilab.viewer.terminal.screenshot import panels, png, take

SIZE: Final = (160, 48)
EARLIER_NAMES: Final = {"reading": "explanation"}
"""Names that panels had in earlier versions: scripts may still ask for them."""
POLLS: Final = 1000  # at most: a live run may grow faster than it is read


def write_svg(reader: RunReader, to: Path, options: PictureOptions) -> list[Path]:
    """Write a picture of a run to the file `to`."""
    to.write_text(_draw(reader, options), encoding="utf-8")
    return [to]


def write_png(reader: RunReader, to: Path, options: PictureOptions) -> list[Path]:
    """Write a picture of a run as PNG. Raises NoPngError."""
    to.write_bytes(png(_draw(reader, options)))
    return [to]


def _draw(reader: RunReader, options: PictureOptions) -> str:
    return asyncio.run(draw(RunFolder(reader.path.parent), options))


async def draw(folder: RunFolder, options: PictureOptions) -> str:
    """Return a picture of a run as SVG. Raises UnknownNameError, ConfigError."""
    panel = EARLIER_NAMES.get(options.panel or "", options.panel or "")
    claims = judge_folder(folder)
    appearance = replace(REPRODUCIBLE, theme=options.theme or REPRODUCIBLE.theme)
    app = ViewerApp(Worker(folder), judge=lambda _: claims, appearance=appearance)
    async with app.run_test(size=options.size or SIZE) as pilot:
        app.dashboard.show_claims(claims)
        await _read(app, pilot)
        if options.at is not None:
            _go_to(app, folder, options.at)
        await _settle(app, pilot)
        if panel:
            await _find(app, pilot, panel)
        try:
            return take(app, panel)
        finally:
            app.store.close()


async def _read(app: ViewerApp, pilot: Pilot[Worker]) -> None:
    """Read a run, over several polls if it is long."""
    for _ in range(POLLS):
        step = app.store.step
        app.tick()
        await pilot.pause()
        if app.store.step == step:
            return


async def _settle(app: ViewerApp, pilot: Pilot[Worker]) -> None:
    app.dashboard.rearrange()
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
        raise ConfigError(f"{at} is after the last statistics, of step {steps[-1]}", "--at")
    app.navigation.look(max(bisect_right(steps, at), 1) - len(steps))


async def _find(app: ViewerApp, pilot: Pilot[Worker], panel: str) -> None:
    """Show the tab that holds a panel."""
    for tab in TABS:
        app.dashboard.show_overview()
        app.dashboard.toggle(tab)
        await _settle(app, pilot)
        if panel in panels(app.screen):
            return
    names = [str(widget.id) for widget in app.dashboard.query(".panel")]
    raise UnknownNameError("panel", panel, names, "--panel")
