"""Commands to the worker, sent in order by one thread, so that no key press waits.

Knows no Textual.
"""

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from engine.commands import Command
from engine.errors import TuilabError
from tuilab.record.control_socket import ControlClient, Reply


class Client(Protocol):
    """What is needed of a `ControlClient`."""

    def send(self, command: Command) -> Reply:
        """Send a command and return the reply. Raises RunError if nothing listens."""

    def close(self) -> None:
        """Close the connection."""


MakeClient = Callable[[str], Client]
Job = Callable[[], object]


class CommandSender:
    """Sends commands in order.

    `refused` is called in the sending thread, with a command that was not accepted and the reason.
    """

    def __init__(
        self, refused: Callable[[Command, str], None], make_client: MakeClient = ControlClient
    ) -> None:
        self._refused, self._make_client = refused, make_client
        self._client: Client | None = None
        self._address = ""
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def send(self, address: str, command: Command) -> None:
        """Send `command` to the worker that listens at `address`, without waiting."""
        self.after(lambda: self._send(address, command))

    def after(self, job: Job) -> None:
        """Run `job` in the sending thread, after everything that was requested before."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="commands")
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _send(self, address: str, command: Command) -> None:
        try:
            if self._client is None or address != self._address:
                self._connect(address)
            assert self._client is not None
            reply = self._client.send(command)
        except TuilabError as error:
            self._refused(command, str(error))
        else:
            if not reply.accepted:
                self._refused(command, reply.error)

    def _connect(self, address: str) -> None:
        if self._client is not None:
            self._client.close()
        self._client, self._address = self._make_client(address), address
