"""Whether there is a terminal to write to or read keys from."""

import os
import select
import shlex
from typing import TextIO


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether `stream` is a terminal; one that hung up or was closed is none."""
    return stream is not None and not stream.closed and stream.isatty()


def has_hung_up(stream: TextIO | None) -> bool:
    """Tell whether nobody is left at the other end of a pipe or terminal."""
    if stream is None or stream.closed:
        return True
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # hanging up is always told
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def has_colour(stream: TextIO | None) -> bool:
    """Tell whether to write in colours: to a terminal, unless NO_COLOR asks for none."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def to_type(*words: object) -> str:
    """Return a command of tuilab as a shell takes it: what is no plain word is quoted."""
    return shlex.join(["tuilab", *map(str, words)])
