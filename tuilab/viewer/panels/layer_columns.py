"""The columns of the layer table: contents, widths, and which give way where room is short."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.sparkline import sparkline
from tuilab.charts.symbols import NOT_FINITE, UNKNOWN
from tuilab.charts.text import Span
from tuilab.viewer.model.layer_table import Table

Text = Callable[[float], str]
WORST: Final = ("error", "warning", "faint", "")
"""Roles of numbers, the worst first; a row of several layers has the worst of theirs."""
BLOCKS: Final = 12  # cells of a line over depth


@dataclass(frozen=True, slots=True)
class Column:
    """A column of strips, of lines over depth, or of numbers: a value per layer."""

    key: str
    group: str
    title: str
    width: int
    priority: int
    values: Callable[[Table], Floats] | None = None  # (layers,); None: strips
    text: Text = formats.sci
    role: Callable[[Table, float], str] = lambda table, value: "" if value else "faint"
    span: Callable[[float, float], str] = lambda low, high: formats.span(low, high)
    """The text of a range, of rows that stand for several layers."""
    wide: int = 0  # its width where there are such rows; 0: the same
    rank: int = 0  # its priority there; 0: the same
    tensor: str = ""  # of which it is a statistic
    hidden_only: bool = False  # it means nothing for an output
    line: bool = False  # drawn as a line over depth, where there are such rows
    weight: int = 0  # share of the spare width; 0 unless strips
    shown: Callable[[Table], bool] = lambda table: True

    def offered(self, table: Table) -> bool:
        """Return whether it has anything to show: of modules, some number."""
        if not self.shown(table) or self.values is None or not table.brief:
            return self.shown(table)
        return not bool(np.isnan(self.values(table)).all())

    def size(self, table: Table) -> int:
        """Return its width, without a share of the spare room."""
        return (self.wide or self.width) if table.several else self.width

    def rank_in(self, table: Table) -> int:
        """Return its priority: the lowest gives way first."""
        return (self.rank or self.priority) if table.several else self.priority


def statistic(value: float, nonfinite: float) -> Span:
    """Return a statistic of a tensor; `nonfinite`, its broken values, is NaN without a tensor."""
    return _statistic(value, nonfinite, formats.sci)


def _statistic(value: float, nonfinite: float, text: Text) -> Span:
    if math.isnan(nonfinite):
        return UNKNOWN.glyph, "faint"
    if nonfinite:
        return f"{NOT_FINITE.glyph} NaN", "error"
    return text(value), "" if value else "faint"


def cells(column: Column, table: Table, rows: Sequence[Sequence[int]]) -> list[Span]:
    """Return the text of each row, given the positions of its layers: a number or a range.

    A heading, which has no layers of its own, is blank.
    """
    assert column.values is not None
    values = column.values(table)
    broken = table.snapshot.field(column.tensor, "nonfinite") if column.tensor else None
    text = formats.brief if table.brief and column.text is formats.sci else column.text
    shown = []
    for members in rows:
        if not members:
            shown.append(("", ""))
        elif column.hidden_only and all(map(table.is_output, members)):
            shown.append((UNKNOWN.glyph, "faint"))
        elif len(members) > 1:
            at = list(members)
            shown.append(_range(column, table, values[at], None if broken is None else broken[at]))
        else:
            [at_] = members
            value = float(values[at_])
            shown.append(
                (text(value), column.role(table, value))
                if broken is None
                else _statistic(value, float(broken[at_]), text)
            )
    return shown


def lines_over_depth(
    column: Column, table: Table, rows: Sequence[Sequence[int]], cells: int
) -> list[str]:
    """Return a line over the layers of each row that has several."""
    assert column.values is not None
    values = column.values(table)
    return [
        (sparkline(values[list(members)], cells) if len(members) > 1 else "").ljust(cells)
        for members in rows
    ]


def _range(column: Column, table: Table, values: Floats, broken: Floats | None) -> Span:
    """Return the range of a column over several layers, in the role of the worst."""
    if broken is not None and bool((broken > 0).any()):
        return f"{NOT_FINITE.glyph} NaN", "error"
    known = values[~np.isnan(values)]
    if not known.size:
        return UNKNOWN.glyph, "faint"
    low, high = float(known.min()), float(known.max())
    roles = {column.role(table, value) for value in (low, high)}
    return column.span(low, high), next(role for role in WORST if role in roles)


def _field(tensor: str, field: str) -> Callable[[Table], Floats]:
    return lambda table: table.snapshot.field(tensor, field)


def _where_finite(shares: Callable[[Table], Floats]) -> Callable[[Table], Floats]:
    """Return shares of layers' activations; NaN for layers with some that are not finite."""

    def values(table: Table) -> Floats:
        broken = table.snapshot.field("activation", "nonfinite") > 0
        return np.where(broken, np.nan, shares(table))

    return values


def _highest(low: float, high: float) -> str:
    """Return the range of a share: only the highest, which is the one to look at."""
    return formats.percent(high) if low == high else f"≤{formats.percent(high)}"


def factors(low: float, high: float) -> str:
    """Return a range of factors: `×0.71…1.02`."""
    return formats.between(formats.factor(low), formats.factor(high).removeprefix("×"))


def _logarithms(low: float, high: float) -> str:
    return formats.between(formats.log10(low), formats.log10(high))


def _gain_role(table: Table, value: float) -> str:
    return table.gain_role(value)


def _can_die(table: Table) -> bool:
    return table.any_activation("silent_at")


def _can_saturate(table: Table) -> bool:
    return table.any_activation("saturated")


def _has(*tensors: str) -> Callable[[Table], bool]:
    return lambda table: all(map(table.measures, tensors))


def _over_depth(tensor: str) -> Callable[[Table], bool]:
    return lambda table: table.several and table.measures(tensor)


COLUMNS: Final = (
    Column("activation", "activation", "", 7, 95, wide=6, rank=84, weight=3,
           shown=_has("activation")),
    Column("mean", "activation", "mean", 8, 60, _field("activation", "mean"),
           tensor="activation", wide=10, shown=_has("activation")),
    Column("std", "activation", "std", 7, 100, _field("activation", "std"),
           tensor="activation", wide=10, shown=_has("activation")),
    Column("blocks", "activation", "over depth", BLOCKS, 92, _field("activation", "std"),
           line=True, shown=_over_depth("activation")),
    Column("zero", "activation", "zero", 4, 55,
           _where_finite(_field("activation", "zero_fraction")), formats.percent,
           span=_highest, wide=5, hidden_only=True, shown=_can_die),
    Column("sat", "activation", "sat.", 4, 75,
           _where_finite(_field("activation", "saturated_fraction")), formats.percent,
           lambda table, value: table.thresholds.saturated(value),
           span=_highest, wide=5, hidden_only=True, shown=_can_saturate),
    Column("dead", "activation", "dead", 4, 70,
           _where_finite(lambda table: table.snapshot.dead_fraction), formats.percent,
           lambda table, value: table.thresholds.dead(value),
           span=_highest, wide=5, hidden_only=True, shown=_can_die),
    Column("gradient", "gradient", "", 9, 65, weight=2, shown=_has("activation_grad")),
    Column("gstd", "gradient", "std", 7, 90, _field("activation_grad", "std"),
           tensor="activation_grad", wide=10, shown=_has("activation_grad")),
    Column("gblocks", "gradient", "over depth", BLOCKS, 62, _field("activation_grad", "std"),
           line=True, shown=_over_depth("activation_grad")),
    Column("gnorm", "gradient", "norm", 7, 40, _field("activation_grad", "norm"),
           tensor="activation_grad", wide=10, shown=_has("activation_grad")),
    Column("weight", "update", "", 14, 20, weight=2, shown=_has("weight_grad")),
    Column("wnorm", "update", "norm", 7, 50, _field("weight_grad", "norm"),
           tensor="weight_grad", wide=10, shown=_has("weight_grad")),
    Column("ratio", "update", "log₁₀ΔW/W", 9, 85, lambda table: table.snapshot.update_ratio,
           formats.log10, lambda table, value: table.thresholds.update_ratio(value),
           span=_logarithms, shown=_has("update", "weight")),
    Column("forward", "gain", "fwd →", 6, 93, Table.gains_forward, formats.factor, _gain_role,
           span=factors, wide=10, rank=80, shown=_has("activation")),
    Column("backward", "gain", "← bwd", 6, 91, Table.gains_backward, formats.factor, _gain_role,
           span=factors, wide=10, rank=78, shown=_has("activation_grad")),
)  # fmt: skip


def choose(table: Table, cells: int, name_width: int) -> dict[str, int]:
    """Return the widths of the columns that fit into `cells`; strips share the spare room."""
    columns = [c for c in COLUMNS if c.offered(table)]
    while len(columns) > 1 and spare(table, columns, cells, name_width) < 0:
        columns.remove(min(columns, key=lambda c: c.rank_in(table)))
    widths = {c.key: c.size(table) for c in columns}
    room = max(spare(table, columns, cells, name_width), 0)
    strips = [c for c in columns if c.weight]
    total = sum(c.weight for c in strips)
    for column in strips:
        share = room * column.weight // total
        widths[column.key] = min(widths[column.key] + share, 64)
    return widths


def spare(table: Table, columns: Sequence[Column], cells: int, name_width: int) -> int:
    """Return the cells left beside the names, the columns and the gaps; negative if too few."""
    groups = len({c.group for c in columns})
    needed = sum(c.size(table) for c in columns) + (len(columns) - groups) * 1 + groups * 3
    return cells - name_width - needed
