"""The server of `tuilab serve`: textual-serve with stricter limits.

Pages of other sites cannot connect, the size of the screen is limited, and a view always ends when
its visitor leaves. None of this affects a run.
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
RESIZE_PERIOD: Final = 0.1  # seconds between two sizes: a window that is dragged sends 60/s
FRAMES: Final = 15  # a second
TIMEOUT: Final = 3.0  # seconds for a view to end
DEFAULT: Final = (("width", 80), ("height", 24))
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Size = tuple[int, int]


def limited_size(width: int, height: int) -> Size:
    """Return the size limited to SMALLEST … LARGEST."""
    width, height = (
        min(max(int(cells), low), high)
        for cells, low, high in zip((width, height), SMALLEST, LARGEST, strict=True)
    )
    return width, height


class Visitor(AppService):
    """The view of one visitor: a process that ends with the visit."""

    _size: Size = (0, 0)  # of the process
    _requested: Size = (0, 0)
    _resizing: asyncio.Task[None] | None = None

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return super()._build_environment(width, height) | {"TEXTUAL_FPS": str(FRAMES)}

    async def start(self, width: int, height: int) -> None:
        """Start the view."""
        self._size = self._requested = limited_size(width, height)
        await super().start(*self._size)

    async def set_terminal_size(self, width: int, height: int) -> None:
        """Pass on a new size, at most one per RESIZE_PERIOD."""
        # A page without layout requests null or infinitely many cells, and one without a font
        # thousands, with which the view wrote 100 MB per frame, or failed.
        if all(isinstance(cells, int | float) and isfinite(cells) for cells in (width, height)):
            self._requested = limited_size(width, height)
        if self._resizing is None or self._resizing.done():
            self._resizing = asyncio.create_task(self._resize())

    async def _resize(self) -> None:
        while self._size != self._requested:
            self._size = self._requested
            await super().set_terminal_size(*self._size)
            await asyncio.sleep(RESIZE_PERIOD)

    async def stop(self) -> None:
        """End the view: politely at first, then by force."""
        if self._resizing is not None:
            self._resizing.cancel()
        stopping = asyncio.ensure_future(super().stop())
        await asyncio.wait([stopping], timeout=TIMEOUT)
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        if self._process is not None:
            await _end(self._process)


async def _end(process: Process) -> None:
    """End a process that may be blocked because its output is no longer read."""
    for number in (0, SIGTERM, SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        waiting = asyncio.ensure_future(process.wait())
        done, _ = await asyncio.wait([waiting], timeout=TIMEOUT)
        if done:
            return
        waiting.cancel()


async def _close(socket: web.WebSocketResponse) -> None:
    await socket.close()


class ViewServer(Server):
    """Runs a command for every visitor."""

    def __init__(self, command: str, host: str, port: int, title: str, started: Callable[[], None]):
        super().__init__(command, host=host, port=port, title=title)
        self._started = started
        self._visitors: set[Visitor] = set()

    def serve(self, debug: bool = False) -> None:
        """Serve until interrupted; call `started` once the server is listening."""
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            print=lambda _: self._started(),
            access_log=None,
        )

    async def on_startup(self, app: web.Application) -> None:
        """Print no banner: the server is not listening yet."""

    async def on_shutdown(self, app: web.Application) -> None:
        """End all views."""
        await asyncio.gather(*(visitor.stop() for visitor in self._visitors))

    def is_same_site(self, request: web.Request) -> bool:
        """Return whether the connecting page comes from this server, not from another site."""
        origin = urlsplit(request.headers.get("Origin", ""))
        if self.host in LOOPBACK:
            return origin.hostname in LOOPBACK and origin.port == self.port
        return bool(origin.netloc) and origin.netloc == request.host

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a view for a visitor until the connection ends."""
        if not self.is_same_site(request):
            raise web.HTTPForbidden(text="this page was not sent by tuilab serve")
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
