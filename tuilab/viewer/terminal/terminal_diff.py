"""Frames in few bytes: only cells that differ from what the terminal shows are sent.

Textual rewrites a line from the left edge of its widget, a whole widget if its title changes, and
starts every run of a style with all of its codes. Ten such frames per second are too much for a
slow connection. A full update, as after a resize, is always sent as a whole, which repairs a
terminal that another program has written to.

Textual has no public name for the two kinds of updates; it is pinned to its major version.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate

GAP: Final = 5  # unchanged cells that cost less than moving the cursor over them
PLAIN: Final = Style()

Cell = tuple[str, Style]  # a character, or "" right of a wide one
Part = tuple[int, int, Iterable[Iterable[Segment]]]  # a row, its first cell, its strips
BLANK: Final[Cell] = ("", PLAIN)  # differs from anything that a terminal shows


class Codes(NamedTuple):
    """The codes that switch a style on."""

    attributes: str
    ink: str
    ground: str


class Screenful:
    """What the terminal shows."""

    def __init__(self) -> None:
        self._rows: list[list[Cell]] = []

    def update(self, change: Any) -> Any:
        """Return an equivalent update of fewer bytes; other objects as they are."""
        return (
            DiffUpdate(self, change) if isinstance(change, ChopsUpdate | LayoutUpdate) else change
        )

    def sequence(self, change: ChopsUpdate | LayoutUpdate, console: Console) -> str:
        """Return the bytes for `change`, and record it as sent."""
        system = COLOR_SYSTEMS[console.color_system] if console.color_system else None
        pen = Pen(system)
        parts = self._whole(change) if isinstance(change, LayoutUpdate) else _parts(change)
        for y, start, strips in parts:
            self._write(pen, y, start, [cell for strip in strips for cell in _cells(strip)])
        return pen.lift()

    def _whole(self, change: LayoutUpdate) -> Iterator[Part]:
        """Discard what was shown: another program may have written to the terminal."""
        self._rows = [[BLANK] * change.region.width for _ in change.strips]
        for y, strips in enumerate(change.strips):
            yield y, 0, strips

    def _write(self, pen: "Pen", y: int, start: int, cells: Sequence[Cell]) -> None:
        """Update a row from the cell `start` on."""
        if y >= len(self._rows):
            return
        row = self._rows[y]
        changed = [x for x, cell in enumerate(cells[: len(row) - start], start) if row[x] != cell]
        row[start : start + len(cells)] = cells[: len(row) - start]
        for first, last in _runs(changed):
            while first > 0 and not row[first][0]:  # never begin within a wide character
                first -= 1
            pen.move(first, y)
            for x in range(first, last + 1):
                pen.put(*row[x])


class Pen:
    """Writes cells, and switches styles with as few codes as possible."""

    def __init__(self, system: ColorSystem | None) -> None:
        self._system = system
        self._written: list[str] = []
        self._style: Style | None = PLAIN
        self._codes = Codes("", "", "")

    def move(self, x: int, y: int) -> None:
        """Go to a cell."""
        self._written.append(f"\x1b[{y + 1};{x + 1}H")

    def put(self, character: str, style: Style) -> None:
        """Write a character in a style."""
        if style is not self._style:
            self._style = style
            self._switch(_codes(style, self._system))
        self._written.append(character)

    def _switch(self, codes: Codes) -> None:
        old = self._codes
        if codes == old:
            return
        self._codes = codes
        colours = ((codes.ink, old.ink), (codes.ground, old.ground))
        if codes.attributes != old.attributes or any(was and not now for now, was in colours):
            parts = ["0", *codes]
        else:
            parts = [now for now, was in colours if now != was]
        self._written.append(f"\x1b[{';'.join(filter(None, parts))}m")

    def lift(self) -> str:
        """Return all that was written, with the style reset at the end."""
        self._switch(Codes("", "", ""))
        return "".join(self._written)


class DiffUpdate(CompositorUpdate):
    """An update that leaves out what the terminal already shows."""

    def __init__(self, screenful: Screenful, change: ChopsUpdate | LayoutUpdate) -> None:
        self._screenful, self._change = screenful, change

    def render_segments(self, console: Console) -> str:
        """Return what to send; called once, when it is sent."""
        return self._screenful.sequence(self._change, console)


def _parts(change: ChopsUpdate) -> Iterator[Part]:
    """Yield the row, first cell and strips of all that may have changed."""
    for y, start, end in change.spans:
        line = change.chops[y]
        for stop, (x, strip) in zip(change.chop_ends[y], line.items(), strict=False):
            if strip is not None and x < end and stop > start:
                left = max(x, start)
                yield y, left, [strip.crop(left - x, min(stop, end) - x)]


def _cells(strip: Iterable[Segment]) -> Iterator[Cell]:
    for text, style, control in strip:
        if control:
            continue
        style = style or PLAIN
        if text.isascii():
            yield from ((character, style) for character in text)
            continue
        for character in text:
            yield character, style
            yield from [("", style)] * (cell_len(character) - 1)


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of groups of close places."""
    first = last = -1
    for place in places:
        if first >= 0 and place - last > GAP:
            yield first, last
            first = place
        elif first < 0:
            first = place
        last = place
    if first >= 0:
        yield first, last


@lru_cache(4096)
def _codes(style: Style, system: ColorSystem | None) -> Codes:
    """Return the codes of a style."""
    codes = style.update_link(None).render("x", color_system=system).partition("m")[0]
    attributes, colours = [], {"3": "", "4": ""}
    parts = iter(codes.removeprefix("\x1b[").split(";") if codes.startswith("\x1b") else [])
    for code in parts:
        if code in ("38", "48"):
            length = 3 if (mode := next(parts)) == "2" else 1
            colours[code[0]] = ";".join([code, mode, *(next(parts) for _ in range(length))])
        elif int(code) >= 30:  # one of the sixteen
            colours["4" if int(code) % 60 >= 40 else "3"] = code
        else:
            attributes.append(code)
    return Codes(";".join(attributes), colours["3"], colours["4"])
