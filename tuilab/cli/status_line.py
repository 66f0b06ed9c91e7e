"""What is running, in one line of a terminal that is written over again and again."""

import shutil
from collections.abc import Sequence
from typing import TextIO

from tuilab.cli.options import say
from tuilab.terminal import is_terminal


class StatusLine:
    """Shows what runs, on `stream` where that is a terminal; lines said above it stay."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream, self._total = stream, total
        self._terminal = is_terminal(stream)
        self._done = 0
        self._shown = ""

    def show(self, running: Sequence[str]) -> None:
        """Show the labels of what is running now."""
        text = f"{self._done}/{self._total} · {', '.join(running)}" if running else ""
        if self._terminal and text != self._shown:
            self._write(text)

    def count(self) -> None:
        """Take note that one more is done."""
        self._done += 1

    def say(self, line: str) -> None:
        """Say a line that stays."""
        if self._terminal:
            self._write("")
        say(line, err=True)

    def close(self) -> None:
        """Clear the line away."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()
        self._shown = text
