"""`tuilab serve`: the same view in a browser, one process of it for each visitor.

textual-serve carries bytes between a browser and a process that it starts. What it leaves open is
closed here: pages of other sites may not connect, and a view ends with its visitor.
"""

import asyncio
import shlex
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from engine.errors import require
from tuilab.errors import RunError

if TYPE_CHECKING:
    from aiohttp.web import Request, WebSocketResponse

COMMANDS: Final = ("tour", "run", "attach", "replay", "compare")
"""The commands that open a view."""


def serve(words: Sequence[str], host: str, port: int) -> None:
    """Serve the view that `words` open until interrupted. Raises ConfigError, RunError."""
    known = ", ".join(COMMANDS)
    require(words[0] in COMMANDS, "", f"'{words[0]}' opens no view; one of {known} does")
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise RunError(
            "serving needs textual-serve: in tuilab's folder, python3 -m pip install -e '.[web]'"
        ) from error
    _check(host, port)
    command = shlex.join([sys.executable, "-m", "tuilab.cli", *words])
    Server(command, host=host, port=port, title=f"tuilab {shlex.join(words)}").serve()


def _check(host: str, port: int) -> None:
    """Raise RunError where nobody can listen there, before anything is said to be served."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot listen on {host}:{port}: {reason}; try another --port") from error
