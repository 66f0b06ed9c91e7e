"""A program in a pseudo-terminal, as a user has it before them."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.tuilab.screen import Screen
from tests.tuilab.support import environment


class Terminal:
    """A program in a pseudo-terminal of its own; all that it writes is collected."""

    def __init__(
        self,
        arguments: list[str],
        cwd: Path,
        size: tuple[int, int] = (120, 36),
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=environment() | {"TERM": "xterm-256color"} | dict(more or {}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.written = bytearray()
        self._screen = Screen()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        while not self._over.is_set():
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # the program has ended
                    return
                self.written += data
                self._screen.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def received(self) -> int:
        """Bytes that the program has written to the terminal."""
        return len(self.written)

    def shows(self, text: str) -> bool:
        return text in self._screen.text

    def hang_up(self) -> None:
        self._over.set()
        self._reader.join()
        os.close(self._master)

    def close(self) -> None:
        if not self._over.is_set():
            self.hang_up()
        self.process.kill()
        self.process.wait()
