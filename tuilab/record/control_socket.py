"""Commands to a running worker: JSON over a local socket that only its owner can open.

The worker's `ControlServer` accepts connections in its own threads and puts commands into a queue,
from which the trainer takes them between steps. A `ControlClient` sends one command and gets back
whether it was accepted; its effect is read in the database, like everything else.
"""

import os
import queue
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import msgspec

from engine.commands import Command
from tuilab.errors import RunError

SOCKET_PATH_LIMIT = 100  # bytes; the kernel's limit is 104 to 108
PATIENCE = 5.0  # seconds that a client waits for a reply


class Reply(msgspec.Struct, frozen=True):
    """The worker's answer: accepted, or why not."""

    accepted: bool
    error: str = ""


class ControlServer:
    """Listens in the run folder and puts the commands that it receives into `inbox`."""

    def __init__(
        self,
        folder: Path,
        inbox: "queue.SimpleQueue[Command]",
        validate: Callable[[Command], str],
    ) -> None:
        """Open the socket; `validate` returns what is wrong with a command, or "".

        It is called in threads of the server while the trainer trains, so it must not touch that.
        """
        self._inbox, self._validate = inbox, validate
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        path = str((folder / "control.sock").resolve())
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            self._scratch = tempfile.TemporaryDirectory(prefix="tuilab-")
            path = str(Path(self._scratch.name) / "control.sock")
        Path(path).unlink(missing_ok=True)  # left over from a worker that was killed
        old = os.umask(0o177)  # the socket is born with mode 0600
        try:
            self._listener = Listener(path, family="AF_UNIX")
        finally:
            os.umask(old)
        self.address = path
        threading.Thread(target=self._accept, daemon=True, name="control").start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        with suppress(OSError):
            self._listener.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            while True:
                connection.send_bytes(msgspec.json.encode(self._answer(connection.recv_bytes())))

    def _answer(self, message: bytes) -> Reply:
        try:
            command = msgspec.json.decode(message, type=Command)
        except (ValueError, RecursionError) as error:  # msgspec's errors, and bytes not in UTF-8
            return Reply(False, f"not a command: {error}")
        wrong = self._validate(command)
        if not wrong:
            self._inbox.put(command)
        return Reply(not wrong, wrong)


class ControlClient:
    """The viewer's end; connects when first used, raises RunError if no worker listens."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Connection | None = None

    def send(self, command: Command) -> Reply:
        """Send `command` and wait for the answer."""
        try:
            if self._connection is None:
                self._connection = Client(self._address, family="AF_UNIX")
            self._connection.send_bytes(msgspec.json.encode(command))
            if not self._connection.poll(PATIENCE):
                self.close()  # a late answer must not be taken for that to the next command
                raise RunError("the worker does not answer; it may be busy with one long step")
            return msgspec.json.decode(self._connection.recv_bytes(), type=Reply)
        except (OSError, EOFError) as error:
            self.close()
            raise RunError("the worker is not listening (the run has ended)") from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
