"""Legends and read-outs of curves, shortened without cutting numbers off."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from rich.cells import cell_len

from tuilab.charts.text import Line, crop, join, plain
from tuilab.viewer.curves import Value

LEAST_NAME: Final = 4  # cells of a name that is cut


def legend(name: str, values: Sequence[Value], cells: int) -> Line:
    """Return a title with its numbers; words give way before numbers."""
    for shortened in _shorter(values):
        if cell_len(name) + sum(2 + _size(value) for value in shortened) <= cells:
            return join([[(name, "")], *(_shown(value) for value in shortened)])
    return [(name, "")]


def _shorter(values: Sequence[Value]) -> Iterator[list[Value]]:
    """Yield the values with fewer and fewer words, then fewer and fewer values."""
    yield [*values]
    yield [replace(value, name=value.short or value.name) for value in values]
    bare = [replace(value, name="") for value in values]
    for number in range(len(bare), -1, -1):
        yield bare[:number]


def names(values: Sequence[Value], cells: int) -> Line:
    """Return the names of curves in their colours, with their numbers.

    Where room is short, the common beginning of all names is dropped first, then the numbers; then
    names are cut.
    """
    for shortened in _tighter(values, cells):
        if sum(_size(value) + 2 for value in shortened) - 2 <= cells:
            return join(_shown(value) for value in shortened)
    return []


def _tighter(values: Sequence[Value], cells: int) -> Iterator[list[Value]]:
    yield [*values]
    letters = zip(*(value.name for value in values), strict=False) if values[1:] else ()
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, letters))
    distinct = [replace(value, name=value.name[common:] or value.name) for value in values]
    yield distinct
    unnumbered = [replace(value, text="") for value in distinct]
    yield unnumbered
    room = max(cells // max(len(values), 1) - 4, LEAST_NAME)
    cut = [replace(value, name=crop([(value.name, "")], room)[0][0]) for value in unnumbered]
    yield cut
    yield [replace(value, name="") for value in unnumbered if value.glyph]


def read_out(where: str, values: Sequence[Value], cells: int) -> Line:
    """Return the numbers at a step, after `where` it is, as many as fit."""
    shortened = [replace(value, name=value.short or value.name) for value in values]
    bare = [replace(value, name="" if value.glyph else value.name) for value in values]
    for fewer in (values, shortened, *(bare[:end] for end in range(len(bare), -1, -1))):
        if cell_len(where) + sum(2 + _size(value) for value in fewer) <= cells:
            return join([[(where, "key")], *(_shown(value) for value in fewer)])
    return []


def _size(value: Value) -> int:
    return cell_len(plain(_shown(value)))


def _shown(value: Value) -> Line:
    words = f"{value.glyph} {value.name}".strip()
    return join(([(words, value.role)], *([[(value.text, "")]] if value.text else ())), " ")
