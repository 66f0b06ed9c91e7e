"""Running the app in a test, and looking at its screen."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from tests.tuilab.viewer.conftest import FakeClient
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.app import ViewerApp
from tuilab.viewer.model.claims import Claims

Visit = tuple[ViewerApp, Pilot[Worker]]


@asynccontextmanager
async def viewing(
    folder: RunFolder,
    client: FakeClient,
    *others: RunFolder,
    size: tuple[int, int] = (160, 48),
    **more: Any,
) -> AsyncIterator[Visit]:
    """Run the app on a folder, and others to compare it with, with data on the screen."""
    settings = {"judge": lambda _: Claims()} | more
    app = ViewerApp(*map(Worker, (folder, *others)), make_client=lambda _: client, **settings)
    async with app.run_test(size=size) as pilot:
        await settle(app, pilot)
        yield app, pilot
    app.store.close()


async def settle(app: ViewerApp, pilot: Pilot[Worker]) -> None:
    """Let the app read and draw all there is."""
    for _ in range(3):
        app.dashboard.redraw()
        app.tick()
        await pilot.pause()


async def sent(app: ViewerApp) -> None:
    """Wait until the sending thread has nothing left to do."""
    done = threading.Event()
    app.sender.after(done.set)
    assert await asyncio.to_thread(done.wait, 5)


def text(app: ViewerApp) -> str:
    """Return what is on the screen, line by line."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()  # type: ignore[call-arg, unused-ignore]
    assert len(strips) == height
    lines = [strip.text for strip in strips]
    assert {len(line) for line in lines} == {width}
    return "\n".join(lines)
