"""The server of `tuilab serve`, on textual-serve: what that leaves open is closed here.

Pages of other sites may not connect; a browser may not ask for a screen beyond all measure; and a
view ends when its visitor has gone, whatever it is doing. No run is touched by any of it.
"""

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import Callable
from functools import partial
from math import isfinite
from signal import SIGKILL, SIGTERM
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

LARGEST: Final = (400, 150)  # cells
SMALLEST: Final = (10, 4)
RESIZE_PERIOD: Final = (
    0.1  # seconds between two sizes passed on: a window that is dragged sends 60/s
)
FRAMES: Final = 15  # a second
PATIENCE: Final = 3.0  # seconds that a view may take to end
DEFAULT: Final = (("width", 80), ("height", 24))
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Size = tuple[int, int]


def within_reason(width: int, height: int) -> Size:
    """Return a size that a screen may have."""
    width, height = (
        min(max(int(cells), low), high)
        for cells, low, high in zip((width, height), SMALLEST, LARGEST, strict=True)
    )
    return width, height


class Visitor(AppService):
    """One visitor's view: a process that ends with the visit."""

    _size: Size = (0, 0)  # that the process knows of
    _wanted: Size = (0, 0)
    _resizing: asyncio.Task[None] | None = None

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return super()._build_environment(width, height) | {"TEXTUAL_FPS": str(FRAMES)}

    async def start(self, width: int, height: int) -> None:
        """Start the view."""
        self._size = self._wanted = within_reason(width, height)
        await super().start(*self._size)

    async def set_terminal_size(self, width: int, height: int) -> None:
        """Pass on a size that is new, and not more than a few of them a second."""
        # A page that is not laid out yet asks for null or infinitely many cells, and one that has
        # no font yet for thousands: the view then drew 100 MB a frame, or broke.
        if all(isinstance(cells, int | float) and isfinite(cells) for cells in (width, height)):
            self._wanted = within_reason(width, height)
        if self._resizing is None or self._resizing.done():
            self._resizing = asyncio.create_task(self._resize())

    async def _resize(self) -> None:
        while self._size != self._wanted:
            self._size = self._wanted
            await super().set_terminal_size(*self._size)
            await asyncio.sleep(RESIZE_PERIOD)

    async def stop(self) -> None:
        """End the view: ask first, then without asking."""
        if self._resizing is not None:
            self._resizing.cancel()
        asked = asyncio.ensure_future(super().stop())
        await asyncio.wait([asked], timeout=PATIENCE)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
        if self._process is not None:
            await _end(self._process)


async def _end(process: Process) -> None:
    """End a process that may not answer any more: its output has nowhere to go."""
    for number in (0, SIGTERM, SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        waiting = asyncio.ensure_future(process.wait())
        done, _ = await asyncio.wait([waiting], timeout=PATIENCE)
        if done:
            return
        waiting.cancel()


async def _close(socket: web.WebSocketResponse) -> None:
    await socket.close()


class ViewServer(Server):
    """Serves a command to visitors from the host it is bound to."""

    def __init__(self, command: str, host: str, port: int, title: str, begun: Callable[[], None]):
        super().__init__(command, host=host, port=port, title=title)
        self._begun = begun
        self._visitors: set[Visitor] = set()

    def serve(self, debug: bool = False) -> None:
        """Serve until interrupted; say so once visitors may come."""
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            print=lambda _: self._begun(),
            access_log=None,
        )

    async def on_startup(self, app: web.Application) -> None:
        """Print no banner: nobody is listening yet."""

    async def on_shutdown(self, app: web.Application) -> None:
        """End all views."""
        await asyncio.gather(*(visitor.stop() for visitor in self._visitors))

    def welcome(self, request: web.Request) -> bool:
        """Tell whether the page that connects is ours, and not one that another site sent."""
        origin = urlsplit(request.headers.get("Origin", ""))
        if self.host in LOOPBACK:
            return origin.hostname in LOOPBACK and origin.port == self.port
        return bool(origin.netloc) and origin.netloc == request.host

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Give a visitor a view, for as long as the visit lasts."""
        if not self.welcome(request):
            raise web.HTTPForbidden(text="this page does not come from tuilab serve")
        socket = web.WebSocketResponse(heartbeat=15)
        await socket.prepare(request)
        visitor = Visitor(
            self.command,
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=partial(_close, socket),
            download_manager=self.download_manager,
        )
        self._visitors.add(visitor)
        size = (to_int(request.query.get(name, ""), cells) for name, cells in DEFAULT)
        try:
            await visitor.start(*size)
            await self._process_messages(socket, visitor)
        finally:
            await visitor.stop()
            self._visitors.discard(visitor)
        return socket
