"""Terminal cells as an SVG image.

Braille, blocks and lines are drawn as shapes: few fonts have them all, and none joins them without
seams. Only letters and signs are left to fonts, each placed in its cell.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from tuilab.viewer.terminal.glyphs import BRAILLE, DOTS

CELL: Final = (10, 20)  # width and height in pixels: whole numbers leave no seams
FONT_SIZE: Final = 16.6  # at which letters of most fixed-width fonts are as wide as a cell
BASELINE: Final = 15  # below the top of a cell
FONTS: Final = "'DejaVu Sans Mono', Menlo, Consolas, 'Cascadia Mono', 'Noto Sans Mono', monospace"
DIM: Final = 0.6

Box = tuple[float, float, float, float]  # x, y, width, height in parts of a cell

_EIGHTHS: Final = {chr(0x2580 + n): (0, 1 - n / 8, 1, n / 8) for n in range(1, 9)} | {
    chr(0x2590 - n): (0, 0, n / 8, 1) for n in range(1, 8)
}
_QUARTERS: Final = (
    (0, 0, 0.5, 0.5),
    (0.5, 0, 0.5, 0.5),
    (0, 0.5, 0.5, 0.5),
    (0.5, 0.5, 0.5, 0.5),
)
_BOXES: Final[dict[str, tuple[Box, ...]]] = {
    **{character: (box,) for character, box in _EIGHTHS.items()},
    **{
        character: tuple(box for bit, box in enumerate(_QUARTERS) if corners >> bit & 1)
        for character, corners in zip("▘▝▖▗▞▛▚▜▙▟", (1, 2, 4, 8, 6, 7, 9, 11, 13, 14), strict=True)
    },
    "▀": ((0, 0, 1, 0.5),),
    "▐": ((0.5, 0, 0.5, 1),),
    "▔": ((0, 0, 1, 0.125),),
    "▕": ((0.875, 0, 0.125, 1),),
    "■": ((0.1, 0.3, 0.8, 0.4),),
}
_SHADES: Final = {"░": 0.25, "▒": 0.5, "▓": 0.75}
_ARMS: Final = {  # from the middle of a cell to the left, right, top and bottom; 2: heavy
    "─": (1, 1, 0, 0), "│": (0, 0, 1, 1), "┌": (0, 1, 0, 1), "┐": (1, 0, 0, 1),
    "└": (0, 1, 1, 0), "┘": (1, 0, 1, 0), "├": (0, 1, 1, 1), "┤": (1, 0, 1, 1),
    "┬": (1, 1, 0, 1), "┴": (1, 1, 1, 0), "┼": (1, 1, 1, 1), "━": (2, 2, 0, 0),
    "┃": (0, 0, 2, 2), "╸": (2, 0, 0, 0), "╺": (0, 2, 0, 0), "╴": (1, 0, 0, 0),
    "╶": (0, 1, 0, 0), "╵": (0, 0, 1, 0), "╷": (0, 0, 0, 1),
}  # fmt: skip
_ROUND: Final = {"╭": (1, 1), "╮": (-1, 1), "╯": (-1, -1), "╰": (1, -1)}  # where the arms go
_DASHED: Final = {"╌": 2, "┄": 3, "┈": 4}  # dashes in a cell


@dataclass(frozen=True, slots=True)
class CellStyle:
    """The colours of a cell, as CSS, and the style of its text."""

    ink: str
    ground: str
    bold: bool = False
    italic: bool = False
    underline: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class _Cell:
    column: int
    text: str
    look: CellStyle


def svg(rows: Sequence[Iterable[Segment]], width: int, ink: str, ground: str, title: str) -> str:
    """Return rows of segments, `width` cells each, as SVG; `ink` and `ground` are defaults."""
    cell_width, cell_height = CELL
    size = f"{width * cell_width} {len(rows) * cell_height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" fill="{ground}"/>',
        f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" xml:space="preserve">',
    ]
    for y, row in enumerate(rows):
        cells = list(_cells(row, ink, ground))
        parts += _grounds(cells, y, ground)
        for look, group in groupby(cells, lambda cell: cell.look):
            parts += _inks(list(group), look, y)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _cells(row: Iterable[Segment], ink: str, ground: str) -> Iterator[_Cell]:
    column = 0
    for text, style, _ in row:
        look = _look(style or Style(), ink, ground)
        for character in text:
            yield _Cell(column, character, look)
            column += cell_len(character)


def _look(style: Style, ink: str, ground: str) -> CellStyle:
    colours = _css(style.color, ink), _css(style.bgcolor, ground)
    if style.reverse:
        colours = colours[1], colours[0]
    return CellStyle(
        *colours,
        bold=bool(style.bold),
        italic=bool(style.italic),
        underline=bool(style.underline),
        opacity=DIM if style.dim else 1.0,
    )


def _css(colour: Color | None, default: str) -> str:
    return default if colour is None or colour.is_default else colour.get_truecolor().hex


def _grounds(cells: Sequence[_Cell], y: int, ground: str) -> Iterator[str]:
    for colour, group in groupby(cells, lambda cell: cell.look.ground):
        run = list(group)
        if colour != ground:
            start, end = run[0].column, run[-1].column + cell_len(run[-1].text)
            yield _rectangle(start, y, (0, 0, end - start, 1), colour)


def _inks(cells: Sequence[_Cell], look: CellStyle, y: int) -> Iterator[str]:
    """Draw neighbouring cells of one style: shapes first, then the rest as text."""
    left = []
    for cell in cells:
        shape = list(_shape(cell.text, cell.column, y, look))
        yield from shape
        if not shape and cell.text not in (" ", chr(BRAILLE)) and cell_len(cell.text):
            left.append(cell)
    if left:
        yield _text(left, look, y)


def _text(cells: Sequence[_Cell], look: CellStyle, y: int) -> str:
    cell_width, cell_height = CELL
    places = " ".join(str(cell.column * cell_width) for cell in cells)
    written = escape("".join(cell.text for cell in cells))
    style = ' font-weight="bold"' * look.bold + ' font-style="italic"' * look.italic
    style += ' text-decoration="underline"' * look.underline + _faded(look.opacity)
    place = f'x="{places}" y="{y * cell_height + BASELINE}"'
    return f'<text {place} fill="{look.ink}"{style}>{written}</text>'


def _shape(character: str, column: int, row: int, look: CellStyle) -> Iterator[str]:
    """Draw a character that is not a letter."""
    if BRAILLE < ord(character) <= BRAILLE + 0xFF:
        yield from _dots(ord(character) - BRAILLE, column, row, look)
    elif character in _SHADES:
        yield _rectangle(column, row, (0, 0, 1, 1), look.ink, _SHADES[character] * look.opacity)
    elif character in _ROUND:
        yield _arc(*_ROUND[character], column, row, look)
    else:
        for box in _boxes(character):
            yield _rectangle(column, row, box, look.ink, look.opacity)


def _boxes(character: str) -> Iterator[Box]:
    if character in _BOXES:
        yield from _BOXES[character]
    elif character in _DASHED:
        count = _DASHED[character]
        yield from ((n / count, 0.475, 0.6 / count, 0.05) for n in range(count))
    elif character in _ARMS:
        left, right, up, down = _ARMS[character]
        across, along = max(up, down) / 20, max(left, right) / 40  # half a line, in cells
        if left or right:
            start = 0.0 if left else 0.5 - across
            yield start, 0.5 - along, (1.0 if right else 0.5 + across) - start, 2 * along
        if up or down:
            top = 0.0 if up else 0.5 - along
            yield 0.5 - across, top, 2 * across, (1.0 if down else 0.5 + along) - top


def _rectangle(column: int, row: int, box: Box, colour: str, opacity: float = 1.0) -> str:
    (cell_width, cell_height), (x, y, width, height) = CELL, box
    return (
        f'<rect x="{(column + x) * cell_width:g}" y="{(row + y) * cell_height:g}" '
        f'width="{width * cell_width:g}" height="{height * cell_height:g}" '
        f'fill="{colour}"{_faded(opacity)}/>'
    )


def _dots(cell: int, column: int, row: int, look: CellStyle) -> Iterator[str]:
    (cell_width, cell_height), radius = CELL, 1.7
    places = [
        ((column + 0.25 + x / 2) * cell_width, (row + 0.125 + y / 4) * cell_height)
        for bit, (y, x) in enumerate(DOTS)
        if cell >> bit & 1
    ]
    path = "".join(
        f"M{x - radius:g} {y:g}a{radius} {radius} 0 1 0 {2 * radius:g} 0"
        f"a{radius} {radius} 0 1 0 {-2 * radius:g} 0"
        for x, y in places
    )
    yield f'<path d="{path}" fill="{look.ink}"{_faded(look.opacity)}/>'


def _arc(right: int, down: int, column: int, row: int, look: CellStyle) -> str:
    cell_width, cell_height = CELL
    x, y, bend = (column + 0.5) * cell_width, (row + 0.5) * cell_height, cell_width / 2
    end = y + down * cell_height / 2
    return (
        f'<path d="M{x + right * bend:g} {y:g}Q{x:g} {y:g} {x:g} {y + down * bend:g}V{end:g}" '
        f'fill="none" stroke="{look.ink}"{_faded(look.opacity)}/>'
    )


def _faded(opacity: float) -> str:
    return "" if opacity == 1 else f' opacity="{opacity:g}"'
