"""Translation of characters for terminals that cannot show all of them.

Panels draw with all of Unicode; output to the terminal is translated here. A character and its twin
have the same width, so that no column moves. Knows no Textual.
"""

import locale
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, TextIO, get_args

from rich.cells import cell_len

Glyphs = Literal["braille", "block", "ascii"]
GLYPHS: Final[tuple[Glyphs, ...]] = get_args(Glyphs)

WITHOUT_GLYPHS: Final = ("dumb", "linux")
"""Terminals whose fonts hold neither braille nor rounded borders; linux is the kernel's console."""

BRAILLE: Final = 0x2800
DOTS: Final = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1))
"""Row and column of each bit of a braille cell."""
QUADRANTS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""Blocks by their corners: 1 upper left, 2 upper right, 4 lower left, 8 lower right."""

TWINS: Final = {
    "-": "▬─━═╌╍┄┅┈╴╶╸╺‐‑‒–—−⁻▔¯",
    "|": "│┃║╎┆┊╵╷╹╻▌▐▏▎▍▋▊▉▕▖▗▘▝❚‖∥",
    "+": "†┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬⁺",
    "_": "▁▄",
    "'": "▀′’‘",
    "#": "█■▛▜▙▟▓",
    "/": "▞╱÷",
    "\\": "▚╲",
    ".": "▂░·◌",
    ":": "▒",
    ">": "→▶▸►▹⇒≥›»",
    "<": "←◀◂◄⇐≤‹«",
    "!": "▲", "^": "↑△▴",
    "v": "↓▼▽▾✓✔√",
    "x": "×✕✗✘✖⊘",
    "*": "●•★◆◉❄",
    "o": "○◇□◯",
    "~": "…≈∼±",
    '"': "“”″",
    ",": "\u2009",  # the thin space between thousands
    " ": "\u00a0\u2007\u2008\u202f",
    "d": "Δ∂δ", "l": "λ", "s": "σ", "S": "Σ", "m": "μ", "p": "π", "P": "Φ", "e": "ε", "h": "η½",
    "g": "γ", "b": "β", "a": "α", "t": "τθ", "I": "∞", "n": "∇", "q": "¼",
}  # fmt: skip

LEVELS: Final = (" ▁▂▃▄▅▆▇█", " .:-=+*#@")
"""Bars by their height, and the characters that replace them."""

_POWER: Final = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹·]+)")
_RAISED: Final = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹·", "-0123456789.")
_WORDS: Final = (("√½", ".7"), ("  ∞", "inf"), ("  −∞", "-inf"), (" ∞", "oo"), (" ±", "+-"))
"""Groups of characters, also with the space before, that have a better twin together."""


class _Table(dict[int, str]):
    """Twins by code point; for other characters a twin is derived on demand."""

    def __missing__(self, code: int) -> str:
        self[code] = twin = _derived(chr(code))
        return twin


def _derived(character: str) -> str:
    """Return the plain letters of an accented one, or a question mark per cell."""
    if character.isascii():
        return character
    cells = cell_len(character)
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return plain if len(plain) == cells else "?" * cells


def _dots(cell: int) -> tuple[list[int], list[int]]:
    """Return the rows, from the top, of the dots in both columns of a braille cell."""
    columns: tuple[list[int], list[int]] = ([], [])
    for bit, (row, column) in enumerate(DOTS):
        if cell >> bit & 1:
            columns[column].append(row)
    return columns


def _quadrant(cell: int) -> str:
    corners = 0
    for column, rows in enumerate(_dots(cell)):
        for row in rows:
            corners |= 1 << (column + 2 * (row // 2))
    return QUADRANTS[corners]


def _stroke(cell: int) -> str:
    """Return the ASCII character that resembles the dots of a braille cell."""
    left, right = _dots(cell)
    rows = left + right
    if not rows:
        return " "
    if len(rows) >= 7:
        return "#"
    if left and right:
        rise = sum(left) / len(left) - sum(right) / len(right)
        if abs(rise) >= 1.5:
            return "/" if rise > 0 else "\\"
    if max(rows) - min(rows) >= 2:
        return "|"
    height = sum(rows) / len(rows)
    if height < 0.75:
        return "'"
    if height <= 2.25:
        return "-"
    return "_" if left and right else "."


_BLOCK: Final = {BRAILLE + cell: _quadrant(cell) for cell in range(256)}
_ASCII: Final = _Table(
    {ord(c): twin for twin, characters in TWINS.items() for c in characters}
    | {ord(bar): level for bar, level in zip(*LEVELS, strict=True)}
    | {BRAILLE + cell: _stroke(cell) for cell in range(256)}
)


def translate(text: str, glyphs: Glyphs) -> str:
    """Return `text` in `glyphs`, in as many cells."""
    if glyphs == "braille" or text.isascii():
        return text
    if glyphs == "block":
        return text.translate(_BLOCK)
    text = _POWER.sub(lambda power: "1e" + power[1].translate(_RAISED), text)
    for word, twin in _WORDS:
        text = text.replace(word, twin)
    return text.translate(_ASCII)


def detect(environ: Mapping[str, str] | None = None, stream: TextIO | None = None) -> Glyphs:
    """Return the glyphs that the terminal behind `stream` can show.

    A console without the glyphs, a locale other than UTF-8, or an output that would escape them
    gets ASCII.
    """
    environ = os.environ if environ is None else environ
    if environ.get("TERM") in WITHOUT_GLYPHS:
        return "ascii"
    encodings = (locale.getencoding(), getattr(stream, "encoding", None) or "utf-8")
    if any(encoding.lower().replace("-", "").replace("_", "") != "utf8" for encoding in encodings):
        return "ascii"
    return "braille"
