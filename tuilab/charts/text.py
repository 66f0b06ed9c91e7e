"""Lines of styled text as plain values: what panels compute, and what tests compare.

A span is `(text, role)`; a role is a name such as "warning" that
a theme turns into a colour. Knows no Textual.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
Line = list[Span]


class Piece(NamedTuple):
    """A part of a line; where room is short, the lowest `priority` is left out first."""

    priority: int
    line: Line


def width(line: Iterable[Span]) -> int:
    """Return the number of terminal cells of a line."""
    return sum(cell_len(text) for text, _ in line)


def plain(line: Iterable[Span]) -> str:
    """Return a line without its roles."""
    return "".join(text for text, _ in line)


def crop(line: Line, cells: int) -> Line:
    """Return a line cut to `cells`, with an ellipsis if anything is cut off."""
    if width(line) <= cells:
        return line
    cropped: Line = []
    room = max(cells - 1, 0)
    for text, role in line:
        size = cell_len(text)
        if size > room:
            cropped.append((set_cell_size(text, room) + "…"[:cells], role))
            return cropped
        cropped.append((text, role))
        room -= size
    return cropped


def pad(line: Line, cells: int) -> Line:
    """Return a line of exactly `cells`."""
    line = crop(line, cells)
    missing = cells - width(line)
    return [*line, (" " * missing, "")] if missing > 0 else line


def fit(pieces: Sequence[Piece], cells: int, gap: int = 2) -> list[Piece]:
    """Return the pieces that fit into `cells` with `gap` between them, in order.

    The piece of the lowest priority is left out first; of equal ones, the later.
    """
    fitting = list(pieces)
    while fitting and sum(width(p.line) + gap for p in fitting) - gap > cells:
        lowest = min(p.priority for p in fitting)
        last = max(i for i, p in enumerate(fitting) if p.priority == lowest)
        del fitting[last]
    return fitting


def key_line(keys: Iterable[tuple[int, str, str]], cells: int) -> Line:
    """Return a line of keys and labels, from (priority, key, label), as far as they fit."""
    pieces = [Piece(p, [(key, "key"), (f" {label}", "muted")]) for p, key, label in keys]
    return pad([(" ", ""), *join([piece.line for piece in fit(pieces, cells - 2)])], cells)


def join(lines: Iterable[Line], gap: str = "  ") -> Line:
    """Return several lines as one, with `gap` between them."""
    joined: Line = []
    for line in lines:
        if joined:
            joined.append((gap, ""))
        joined.extend(line)
    return joined


def wrap(line: Line, cells: int, indent: int = 0) -> list[Line]:
    """Break a line at spaces into lines of at most `cells`, the later ones indented."""
    lines: list[Line] = []
    current: Line = []
    used = 0
    for word, role in _words(line):
        size = cell_len(word)
        if used + size > cells and used > indent:
            lines.append(_trimmed(current))
            current, used = ([(" " * indent, "")] if indent else []), indent
        if not word.strip() and used == (indent if lines else 0) and lines:
            continue
        current.append((word, role))
        used += size
    lines.append(_trimmed(current))
    return [crop(line, cells) for line in lines]


def _words(line: Line) -> Iterable[Span]:
    for text, role in line:
        word = ""
        for character in text:
            if (character == " " and word.strip()) or (character != " " and word.isspace()):
                yield word, role
                word = ""
            word += character
        if word:
            yield word, role


def _trimmed(line: Line) -> Line:
    while line and not line[-1][0].strip() and len(line) > 1:
        line = line[:-1]
    return line
