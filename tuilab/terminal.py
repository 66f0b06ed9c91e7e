"""Standard output and the terminal: what is a terminal, and how to write to it."""

import os
import select
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

import click


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal; False for one that was closed."""
    return stream is not None and not stream.closed and stream.isatty()


def has_hung_up(stream: TextIO | None) -> bool:
    """Return whether the other end of a pipe or terminal is gone."""
    if stream is None or stream.closed:
        return True
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # hang-ups are always reported
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def has_colour(stream: TextIO | None) -> bool:
    """Return whether to write colours: on a terminal, unless NO_COLOR is set."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def shell_command(*words: object) -> str:
    """Return a tuilab command as typed in a shell, quoted where necessary."""
    return shlex.join(["tuilab", *map(str, words)])


def how_it_ended(code: int) -> str:
    """Return how a process ended, in words: "exit code 1", "killed by SIGTERM"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def shell_code(code: int) -> int:
    """Return the exit code of a process as a shell shows it: 128 + n if signal n killed it."""
    return 128 - code if code < 0 else code


def say(text: str, err: bool = False) -> None:
    """Print `text`; a closed pipe (`| head`) neither fails nor changes the exit code."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        silence(sys.stderr if err else sys.stdout)


def silence(output: TextIO) -> None:
    """Discard everything written to `output` from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


class StatusLine:
    """A line on a terminal that is overwritten in place; printed lines scroll above it.

    On a `stream` that is not a terminal only the printed lines appear.
    """

    def __init__(self, stream: TextIO, total: int = 0) -> None:
        self._stream, self._total = stream, total
        self._terminal = is_terminal(stream)
        self._done = 0
        self._shown = ""

    def show(self, running: Sequence[str]) -> None:
        """Show how many are done, and the labels of those that are running now."""
        self.set(f"{self._done}/{self._total} · {', '.join(running)}" if running else "")

    def count(self) -> None:
        """Count one more as done."""
        self._done += 1

    def set(self, text: str) -> None:
        """Show `text`, cut to the width of the terminal."""
        if self._terminal and text != self._shown:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
            self._stream.flush()
            self._shown = text

    def print(self, line: str, err: bool = True) -> None:
        """Print a line that stays."""
        if self._terminal:
            self.close()
        say(line, err=err)

    def close(self) -> None:
        """Clear the status line."""
        self.set("")
