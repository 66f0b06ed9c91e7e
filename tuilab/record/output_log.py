"""What a program printed into its log, as lines that are safe to show.

A log holds what was meant for a terminal: progress bars that go back to the start of their line,
colours, and whatever else. Lines are kept as a terminal would show them in the end; of escape
sequences, only those that progress bars use have an effect, and no control character is left.
"""

import re
from codecs import getincrementaldecoder
from pathlib import Path
from typing import Final

TAIL: Final = 1 << 18  # bytes of a log that are read when it is opened, and at a time
GLANCE: Final = 1 << 14  # bytes that are read for the last lines
MOST_LINES: Final = 10_000
MOST_COLUMNS: Final = 4096
MOST_UP: Final = 100  # lines that a program can go back up
TABULATOR: Final = 8
_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"
    r"|(?P<string>\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\))"
    r"|(?P<escape>\x1b[ -/]*[0-Z\\^-~])"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f])"
)
_UNFINISHED: Final = re.compile(r"\x1b(?:[ -/]*|\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,200}\x1b?)$")


class Printout:
    """The lines of text that was printed, as a terminal of any width would show them."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.forgotten = 0  # lines from the start that are not kept any more
        self._row = self._column = 0
        self._rest = ""  # the start of an escape sequence

    def feed(self, text: str) -> None:
        """Take what is printed next."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        self._rest = unfinished.group() if unfinished else ""
        for token in _TOKEN.finditer(text[: len(text) - len(self._rest)]):
            if token["text"]:
                self._put(printable(token["text"]))
            elif token["final"]:
                self._sequence(token["final"], token["arguments"])
            elif token["control"]:
                self._control(token["control"])
        if (excess := len(self.lines) - MOST_LINES) > 0:
            del self.lines[:excess]
            self.forgotten += excess
            self._row = max(self._row - excess, 0)

    def _put(self, text: str) -> None:
        line, at = self.lines[self._row], self._column
        if at > len(line):
            line += " " * (at - len(line))
        self.lines[self._row] = (line[:at] + text + line[at + len(text) :])[:MOST_COLUMNS]
        self._column = min(at + len(text), MOST_COLUMNS)

    def _control(self, character: str) -> None:
        if character == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self.lines):
                self.lines.append("")
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character == "\t":
            self._put(" " * (TABULATOR - self._column % TABULATOR))
        elif character not in "\x07\x0e\x0f":  # the bell; character sets
            self._put(visible(character))

    def _sequence(self, final: str, arguments: str) -> None:
        """Move or erase; all other sequences, such as colours, have no effect."""
        first = arguments.partition(";")[0]
        number = int(first[:6]) if first.isdecimal() else 0
        by = max(number, 1)
        row, line = self._row, self.lines[self._row]
        if final == "A":
            lowest = max(len(self.lines) - MOST_UP, 0)
            self._row = max(row - by, min(row, lowest))
        elif final == "B":
            self._row = min(row + by, len(self.lines) - 1)
        elif final == "C":
            self._column = min(self._column + by, MOST_COLUMNS)
        elif final == "D":
            self._column = max(self._column - by, 0)
        elif final == "G":
            self._column = min(by - 1, MOST_COLUMNS)
        elif final == "K":
            before = " " * min(self._column, len(line)) if number else line[: self._column]
            self.lines[row] = before if number != 1 else before + line[self._column :]
        elif final == "J" and not number:
            self.lines[row] = line[: self._column]
            del self.lines[row + 1 :]


class OutputLog:
    """Follows the log of a program; begins near its end where it is long."""

    def __init__(self, path: Path, tail: int = TAIL) -> None:
        """Follow `path`; of what is there, read the last `tail` bytes."""
        self.path, self._tail = path, tail
        self._restart(0)

    def _restart(self, position: int) -> None:
        self._position = position
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self.printout = Printout()
        self.shortened = position > 0  # whether the start was left out

    @property
    def lines(self) -> list[str]:
        """The lines so far, without an empty last one."""
        lines = self.printout.lines
        return lines if lines[-1] else lines[:-1]

    def poll(self) -> bool:
        """Read what is new. Return whether there was anything."""
        try:
            size = self.path.stat().st_size
            # Another file, or too far behind.
            if size < self._position or size - self._position > 2 * self._tail:
                self._restart(max(size - self._tail, 0))
            if size == self._position:
                return False
            with self.path.open("rb") as file:
                file.seek(self._position)
                first = self.shortened and not any(self.printout.lines)
                data = file.read(2 * self._tail)
        except OSError:
            return False
        self._position += len(data)
        if first:
            data = data.partition(b"\n")[2] or data
        self.printout.feed(self._decoder.decode(data))
        return True


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log that are not empty."""
    log = OutputLog(path, GLANCE)
    log.poll()
    return [line for line in log.lines if line.strip()][-lines:] if lines > 0 else []


def printable(text: str) -> str:
    """Return text with a visible form of everything that a terminal may not show as it is."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else visible(c) for c in text)


def visible(character: str) -> str:
    r"""Return a control character as "^C", and others as "\u202e"."""
    code = ord(character)
    if code < 32 or code == 127:
        return f"^{chr(code ^ 64)}"
    return ascii(character)[1:-1]
