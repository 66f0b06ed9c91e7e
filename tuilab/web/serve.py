"""`tuilab serve`: the same view in a browser, one process of it for each visitor."""

import errno
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tuilab.errors import RunError, ScenarioError
from tuilab.record.run_folder import find_group
from tuilab.scenario.catalog import resolve
from tuilab.scenario.loading import load_file
from tuilab.terminal import shell_command

COMMANDS: Final = ("tour", "run", "attach", "replay", "compare")
"""The commands that open a view."""


def serve(words: Sequence[str], host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the view that `words` open until interrupted. Raises ConfigError, RunError.

    `tell` is told once that visitors may come.
    """
    words = in_full(words)
    try:
        from tuilab.web.server import ViewServer
    except ImportError as error:
        raise RunError(
            "serving needs textual-serve: in tuilab's folder, python3 -m pip install -e '.[web]'"
        ) from error
    _check(host, port)
    command = "exec " + shlex.join([sys.executable, "-m", "tuilab.cli.main", *words])
    shown = shell_command(*words)
    begun = f"http://{host}:{port} shows {shown}; ctrl+c ends it"
    ViewServer(command, host, port, shown, lambda: tell(begun)).serve()


def in_full(words: Sequence[str]) -> list[str]:
    """Return the command that opens a view; a scenario or a run may be named alone.

    Raises RunError, ScenarioError where what it names is not there.
    """
    if not words:
        return ["tour"]
    name, *more = words
    if name in COMMANDS:
        _find(name, [word for word in more if not word.startswith("-")])
        return [*words]
    with suppress(ScenarioError):
        if (scenario := resolve(Path(name))).is_file():
            return ["run", str(scenario), *more]
    try:
        alive = any(folder.is_alive() for folder in find_group(name))
    except RunError as error:
        known = ", ".join(COMMANDS)
        raise RunError(f"'{name}' is no scenario, no run and none of {known}: {error}") from error
    return ["attach" if alive else "replay", name, *more]


def _find(command: str, names: Sequence[str]) -> None:
    """Raise RunError or ScenarioError where a command is given what is not there, or nothing."""
    if command in ("run", "replay", "compare") and not names:
        raise RunError(f"say what to {command}: tuilab serve {command} NAME")
    if command == "run":
        load_file(resolve(Path(names[0])))
    elif command in ("attach", "replay", "compare"):
        for name in names[: None if command == "compare" else 1]:
            find_group(name)


def _check(host: str, port: int) -> None:
    """Raise RunError where nobody can listen there, before anything is said to be served."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        other = "--port" if taken else "--host"
        reason = error.strerror or error
        raise RunError(f"cannot listen on {host}:{port}: {reason}; try another {other}") from error
