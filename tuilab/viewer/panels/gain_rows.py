"""The gain of each row of a tree of modules, in order of execution, beside what theory predicts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.bars import gain_bar, gain_range
from tuilab.charts.symbols import OK, SEVERITIES, UNKNOWN
from tuilab.charts.text import Line, crop, wrap
from tuilab.viewer.model.folding import Folding
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.layer_theory import covered, layer_theory
from tuilab.viewer.panels.layer_columns import factors
from tuilab.viewer.panels.layer_names import row_names

SPANS: Final = (2.0, 4.0, 10.0, 100.0)  # ends of the scale: the first that holds all
BAR: Final = (5, 41)  # cells of a bar, at least and at most
MEASURED: Final = 10  # cells of a measured factor, or of a range
THEORY: Final = 7
NUMBERS: Final = 100  # cells from which the predicted factors are given as numbers too
HEADER_LINES: Final = 2
Tint = Callable[[str, str], Line]


@dataclass(frozen=True, slots=True)
class RowGains:
    """One direction: the measured factor of each layer, and what it is computed from."""

    word: str
    title: str
    role: str
    values: Floats  # (layers,)
    overall: float  # of a chain of layers, per layer
    missing: str  # what the run does not record, where there are no values
    place: int  # of the direction in `layer_theory`


def row_gains(table: Table) -> tuple[RowGains, RowGains]:
    """Return both directions."""
    snapshot = table.snapshot
    overall = (snapshot.gain_forward, snapshot.gain_backward) if table.chain else (math.nan,) * 2
    return (
        RowGains("forward", "forward →", "activation", table.gains_forward(), overall[0],
                 _missing(table, "activation", "activation is", "the inputs of layers are"), 0),
        RowGains("backward", "← backward", "gradient", table.gains_backward(), overall[1],
                 _missing(table, "activation_grad", "dL/dA is", "dL/dA at inputs is"), 1),
    )  # fmt: skip


def _missing(table: Table, tensor: str, alone: str, inputs: str) -> str:
    return alone if not table.measures(tensor) else inputs


def row_gain_lines(
    table: Table, folding: Folding, cells: int, height: int, start: int, tint: Tint
) -> tuple[list[Line], int]:
    """Return the panel with the rows from `start` on, and how many rows fit.

    There are no rows where no gain is known. `tint` colours a bar.
    """
    both = row_gains(table)
    prefix = f"{folding.tree.prefix}." if folding.tree.prefix else ""
    words = [line for direction in both for line in _head(direction, table, prefix, cells)]
    if all(bool(np.isnan(direction.values).all()) for direction in both):
        return words, len(folding.rows)
    words += _theory(table, cells) if height > 2 * len(words) + 6 else []
    room = max(height - len(words) - 1 - HEADER_LINES, 1)
    rows = _rows(both, table, folding, cells, range(start, start + room), tint)
    return [crop(line, cells) for line in [*words, [], *rows]], room


def _head(direction: RowGains, table: Table, prefix: str, cells: int) -> list[Line]:
    """Return what can be said of all layers: the factor of a chain, or the range.

    Paths are without the `prefix` that layers share.
    """
    known = np.flatnonzero(np.isfinite(direction.values) & (direction.values > 0))
    if not known.size:
        text = f"{direction.word}: {direction.missing} not recorded"
        return wrap([UNKNOWN.lead, (text, UNKNOWN.role)], cells, 2)
    values = direction.values[known]
    if not math.isnan(direction.overall):
        role = table.gain_role(direction.overall)
        symbol = OK if not role else SEVERITIES["warning" if role == "warning" else "error"]
        text = f"{direction.word} {formats.factor(direction.overall)} per layer"
        return wrap([symbol.lead, (text, f"{symbol.role}.bold")], cells, 2)
    far = int(known[np.abs(np.log(values)).argmax()])
    span = factors(float(values.min()), float(values.max()))
    name = table.layers[far].location.removeprefix(prefix)
    where = f", farthest from ×1 in {name}" if len(values) > 1 else ""
    return wrap([("  ", ""), (f"{direction.word} {span}", "bold"), (where, "muted")], cells, 2)


def _theory(table: Table, cells: int) -> list[Line]:
    """Return of how many layers there is a theory, and why not of all."""
    number = _covered(table)
    text = f"theory: {number} of {len(table.layers)} layers, given the inputs that they get"
    if not number:
        text = "no theory: it needs the first weights of linear layers and convolutions"
    return wrap([("  ", ""), (text, "muted")], cells, 2)


def _covered(table: Table) -> int:
    return covered(table.layers) if table.measures("input") else 0


def _rows(
    both: Sequence[RowGains],
    table: Table,
    folding: Folding,
    cells: int,
    shown: range,
    tint: Tint,
) -> list[Line]:
    names = row_names(table, folding, cells, shown.start, shown.stop, cursor=False)
    numbers = cells >= NUMBERS and bool(_covered(table))
    taken = MEASURED + THEORY * numbers
    bar = min(max((cells - names.width) // 2 - 3 - taken - 1, 0), BAR[1])
    bar -= 1 - bar % 2
    bar = 0 if bar < BAR[0] else bar
    span = _span(both)
    top: Line = [(" " * names.width, "")]
    below: Line = [(" " * names.width, "")]
    for direction in both:
        width = taken + (bar + 1) * bool(bar)
        top += [(" │ ", "faint"), (f"{direction.title:<{width}}", f"{direction.role}.bold")]
        head = " " * MEASURED + (f"{'theory':>{THEORY}}" if numbers else "")
        low, high = (formats.factor(f) if bar > 11 else "" for f in (1 / span, span))
        scale = f" {low:<{bar // 2}}1{high:>{bar // 2}}" if bar else ""
        below += [(" │ ", "faint"), (f"{head}{scale}", "muted")]
    lines = [top, below]
    for name, members in zip(names.lines, names.members, strict=True):
        line = [*name]
        predicted = layer_theory(table, members[len(members) // 2]) if members else (math.nan,) * 2
        for direction in both:
            theory = predicted[direction.place]
            line += [(" │ ", "faint"), *_numbers(direction, table, members)]
            if numbers:
                text = formats.factor(theory) if members else ""
                line.append((f"{text:>{THEORY}}", "muted"))
            if bar:
                drawn = _bar(direction.values[list(members)], theory, span, bar)
                line += [(" ", ""), *tint(drawn, direction.role)]
        lines.append(line)
    return lines


def _numbers(direction: RowGains, table: Table, members: Sequence[int]) -> Line:
    values = direction.values[list(members)]
    known = values[~np.isnan(values)]
    if not members:
        return [(" " * MEASURED, "")]
    if not known.size:
        return [(f"{UNKNOWN.glyph:>{MEASURED}}", "faint")]
    low, high = float(known.min()), float(known.max())
    roles = {table.gain_role(low), table.gain_role(high)}
    role = next(role for role in ("error", "warning", "faint", "") if role in roles)
    return [(f"{factors(low, high):>{MEASURED}}", role)]


def _bar(values: Floats, theory: float, span: float, cells: int) -> str:
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) > 1:
        return gain_range(float(known.min()), float(known.max()), theory, span, cells)
    return gain_bar(float(known[0]) if len(known) else math.nan, theory, span, cells)


def _span(both: Sequence[RowGains]) -> float:
    """Return the end of the scale that has room for all measured factors."""
    values = np.concatenate([[1.0], *(direction.values for direction in both)])
    reach = float(np.abs(np.log(values[np.isfinite(values) & (values > 0)])).max())
    return next((span for span in SPANS if reach <= math.log(1.05 * span)), SPANS[-1])
