"""`tuilab serve`: the view in a browser, with a process for every visitor."""

import errno
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tuilab.errors import RunError, ScenarioError, missing_package
from tuilab.record.run_folder import find_group
from tuilab.scenario.catalog import resolve
from tuilab.scenario.loading import load_file
from tuilab.terminal import shell_command

COMMANDS: Final = ("tour", "run", "attach", "replay", "compare")
"""The commands that open a view."""


def serve(words: Sequence[str], host: str, port: int, report: Callable[[str], None]) -> None:
    """Serve the view of the command `words` until interrupted. Raises ConfigError, RunError.

    `report` is called with a line for the user once the server is listening.
    """
    words = full_command(words)
    try:
        from tuilab.web.server import ViewServer
    except ImportError as error:
        needs = missing_package("tuilab serve needs textual-serve", "textual-serve")
        raise RunError(needs) from error
    _check(host, port)
    command = "exec " + shlex.join([sys.executable, "-m", "tuilab.cli.main", *words])
    shown = shell_command(*words)
    started = f"http://{host}:{port} shows {shown}; press ctrl+c to stop"
    ViewServer(command, host, port, shown, lambda: report(started)).serve()


def full_command(words: Sequence[str]) -> list[str]:
    """Return the command that opens a view; `words` may be just a scenario or a run.

    Raises RunError, ScenarioError if the scenario or run does not exist.
    """
    if not words:
        return ["tour"]
    name, *more = words
    if name in COMMANDS:
        _check_names(name, [word for word in more if not word.startswith("-")])
        return [*words]
    with suppress(ScenarioError):
        if (scenario := resolve(Path(name))).is_file():
            return ["run", str(scenario), *more]
    try:
        alive = any(folder.is_alive() for folder in find_group(name))
    except RunError as error:
        known = ", ".join(COMMANDS)
        raise RunError(f"'{name}' is not a scenario, a run or one of {known}: {error}") from error
    return ["attach" if alive else "replay", name, *more]


def _check_names(command: str, names: Sequence[str]) -> None:
    """Raise RunError or ScenarioError if a name is missing or does not exist."""
    if command in ("run", "replay", "compare") and not names:
        raise RunError(f"tuilab serve {command} needs a name: tuilab serve {command} NAME")
    if command == "run":
        load_file(resolve(Path(names[0])))
    elif command in ("attach", "replay", "compare"):
        for name in names[: None if command == "compare" else 1]:
            find_group(name)


def _check(host: str, port: int) -> None:
    """Raise RunError if the address cannot be used, before the server reports that it started."""
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
