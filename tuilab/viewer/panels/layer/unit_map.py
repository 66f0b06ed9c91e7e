"""The units of a layer as a map: a cell per unit, as bright as it is active; dead ones marked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from engine.statistics.frames import Floats, Units
from tuilab.charts import formats
from tuilab.charts.color_scales import STEPS, on, solid
from tuilab.charts.color_scales import step as step_of
from tuilab.charts.symbols import DEAD, NOT_FINITE, SATURATED, Symbol
from tuilab.charts.text import Line, Piece, fit, join
from tuilab.viewer.panels.base import WAITING
from tuilab.viewer.panels.layer.base import Key, LayerViewState, Subject, View, as_of

OFTEN: Final = 0.9
"""A unit counts as saturated if it is so on at least this share of the examples."""
ALWAYS: Final = 0.999
"""A unit that is active on this share of the examples is almost linear on the batch."""


class Cell(NamedTuple):
    """The size of a unit on the screen, the gap to the next, and whether it holds numbers."""

    width: int
    height: int
    gap: int
    labelled: bool = False

    def fits(self, units: int, cells: int, rows: int) -> bool:
        """Return whether there is room for all `units`."""
        return (cells // self.width) * (rows // self.height) >= units


CELLS: Final = (
    Cell(10, 4, 1, labelled=True),
    Cell(8, 3, 1, labelled=True),
    Cell(6, 3, 1),
    Cell(4, 2, 1),
    Cell(3, 1, 1),
    Cell(2, 1, 0),
    Cell(1, 1, 0),
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the brightness of a cell means: a share, or signed values of any size."""

    name: str
    scale: str  # of colours
    values: Floats
    signed: bool = False

    @property
    def reach(self) -> float:
        """The value at the end of the scale: 1 for shares, otherwise the largest finite one."""
        finite = np.abs(self.values[np.isfinite(self.values)])
        return (float(finite.max(initial=0.0)) or 1.0) if self.signed else 1.0


def quantities(units: Units) -> list[Quantity]:
    """Return what can be shown of these units."""
    mean = Quantity("mean activation", "signed", units.mean.astype(np.float64), signed=True)
    shown = [mean]
    if units.saturated is not None:
        shown.append(Quantity("share of examples saturated", "saturated", units.saturated))
    if units.active is not None:
        shown.insert(0, Quantity("share of examples active", "active", units.active))
    return shown


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Return the counts, the map and its scale in `height` lines of `cells`."""
    recorded = subject.units()
    if recorded is None:
        return [[(WAITING, "muted")]]
    _, units = recorded
    quantity = _chosen(subject.state, units)
    rows = height - 4
    if rows < 1:
        return [_counts(units, cells)][:height]
    lines = [_counts(units, cells), [], *_map(units, quantity, cells, rows)]
    return [*lines, [], _scale(quantity, len(units.mean), cells, rows)][:height]


def _chosen(state: LayerViewState, units: Units) -> Quantity:
    available = quantities(units)
    return available[state.quantity % len(available)]


def _counts(units: Units, cells: int) -> Line:
    """Return the numbers of units: all, dead, silent, always active, saturated."""
    total = len(units.mean)
    pieces = [Piece(9, [(f"{total:,}", "bold"), (" units", "muted")])]
    if units.dead is not None:
        dead = int(units.dead.sum())
        words = f"{DEAD.glyph} {dead:,} dead  {formats.percent(dead / total)}"
        pieces.append(Piece(8, [(words, DEAD.role) if dead else ("none dead", "")]))
        if dead:
            pieces.append(Piece(2, [("silent over a whole epoch", "muted")]))
    if units.active is not None:
        silent = int(np.count_nonzero(units.active == 0))
        always = int(np.count_nonzero(units.active >= ALWAYS))
        pieces.append(Piece(6, [(f"{silent:,}", ""), (" silent in this batch", "muted")]))
        pieces.append(Piece(5, [(f"{always:,}", ""), (" always active", "muted")]))
    if units.saturated is not None:
        flat = int(np.count_nonzero(units.saturated >= OFTEN))
        words = f"{SATURATED.glyph} {flat:,} saturated"
        pieces.append(Piece(7, [(words, SATURATED.role) if flat else ("none saturated", "")]))
        if flat:
            often = formats.percent(OFTEN)
            pieces.append(Piece(2, [(f"on {often} of the examples or more", "muted")]))
    return join([piece.line for piece in fit(pieces, cells, gap=3)], "   ")


def _map(units: Units, quantity: Quantity, cells: int, rows: int) -> list[Line]:
    total = len(units.mean)
    cell = next((size for size in CELLS if size.fits(total, cells, rows)), CELLS[-1])
    across = cells // cell.width
    if cell.fits(total, (tens := across - across % 10) * cell.width, rows) and tens:
        across = tens  # units are easier to find where every row starts at a multiple of ten
    lines: list[Line] = []
    for start in range(0, total, across):
        members = range(start, min(start + across, total))
        lines += _row(units, quantity, members, cell)
    return lines[:rows]


def _row(units: Units, quantity: Quantity, members: Sequence[int], cell: Cell) -> list[Line]:
    lines: list[Line] = [[] for _ in range(cell.height)]
    gap: Line = [(" " * cell.gap, "")] if cell.gap else []
    for unit in members:
        for line, part in zip(lines, _face(units, quantity, unit, cell), strict=False):
            line += [*part, *gap]
    return [_merged(line) for line in lines]


def _face(units: Units, quantity: Quantity, unit: int, cell: Cell) -> list[Line]:
    """Return the lines of a unit's cell: its colour, its symbol, and numbers if there is room."""
    value = float(quantity.values[unit])
    share = value / quantity.reach if math.isfinite(value) else 0.0
    symbol = _symbol(units, value, unit)
    bad = symbol in (DEAD, NOT_FINITE)
    back = "dead" if bad else f"{quantity.scale}.{step_of(share)}"
    ink, cells = on(back, 0.0 if bad else share), cell.width - cell.gap
    lines: list[Line] = [[solid(back, cells)] for _ in range(max(cell.height - 1, 1))]
    if cell.labelled:
        number = formats.number(value) if quantity.signed else formats.percent(value)
        lines[0] = [(f" {unit + 1}".ljust(cells), ink)]
        lines[-1] = [(f"{number:>{cells - 1}} ", ink)]
    if symbol is not None:
        before = f" {unit + 1}".ljust(cells - 2) if cell.labelled else " " * ((cells - 1) // 2)
        after = " " * (cells - 1 - len(before))
        at = 0 if cell.labelled else (len(lines) - 1) // 2
        role = f"{symbol.role}/{back}" if bad else ink
        lines[at] = [(before, ink), (symbol.glyph, role), (after, ink)]
    return lines


def _symbol(units: Units, value: float, unit: int) -> Symbol | None:
    """Return the symbol of a unit that is dead, saturated or not finite."""
    if not math.isfinite(value):
        return NOT_FINITE
    if units.dead is not None and units.dead[unit]:
        return DEAD
    if units.saturated is not None and units.saturated[unit] >= OFTEN:
        return SATURATED
    return None


def _merged(line: Line) -> Line:
    """Return a line with neighbours of one role in one span."""
    groups = groupby(line, key=lambda span: span[1])
    return [("".join(text for text, _ in spans), role) for role, spans in groups]


def _scale(quantity: Quantity, total: int, cells: int, rows: int) -> Line:
    """Return the colour scale with its ends, and how many units are shown if not all."""
    steps = range(-STEPS if quantity.signed else 0, STEPS + 1, 2)
    ends = (f"−{formats.sci(quantity.reach)}", formats.sci(quantity.reach))
    low, high = ends if quantity.signed else ("0%", "100%")
    ramp: Line = [solid(f"{quantity.scale}.{at}", 2) for at in steps]
    pieces = [Piece(8, [(f"{low} ", "muted"), *ramp, (f" {high}", "muted")])]
    pieces.append(Piece(7, [(quantity.name, "")]))
    if total > cells * rows:
        words = f"the first {cells * rows:,} of {total:,}"
        pieces.append(Piece(9, [(words, "warning")]))
    return join([piece.line for piece in fit(pieces, cells)])


def title(subject: Subject) -> Line:
    """Return what the brightness means, and its step if that is not the snapshot's."""
    recorded = subject.units()
    if recorded is None:
        return []
    step, units = recorded
    words: Line = [(_chosen(subject.state, units).name, "")]
    if step != subject.snapshot.step:
        words += [("   ", ""), *as_of(step, subject)]
    return words


def turn(subject: Subject, by: int) -> LayerViewState:
    """Return the state with the next quantity."""
    recorded = subject.units()
    number = len(quantities(recorded[1])) if recorded is not None else 1
    return replace(subject.state, quantity=(subject.state.quantity + by) % number)


VIEW: Final = View(
    20,
    "units",
    "u",
    "a map of its units: how active each is, which are dead or saturated",
    lambda subject: subject.units() is not None,
    title,
    draw,
    turn,
    keys=(Key(8, "tab", "quantity", "how active on average, how often saturated"),),
)
