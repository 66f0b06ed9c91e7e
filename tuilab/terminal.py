"""Whether there is a terminal to write to or read keys from."""

from typing import TextIO


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether `stream` is a terminal; one that hung up or was closed is none."""
    return stream is not None and not stream.closed and stream.isatty()
