"""The columns of the layer table: contents, widths, and which give way where room is short."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats, LayerInfo, Snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import formats, strips
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.symbols import NOT_FINITE, UNKNOWN
from tuilab.charts.text import Span
from tuilab.diagnosis.base import DEEP
from tuilab.record import RunInfo
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.thresholds import DEFAULTS, Thresholds, thresholds_of


@dataclass(frozen=True)
class Table:
    """What the columns show: one snapshot, and what is known of its run."""

    snapshot: Snapshot
    layers: Sequence[LayerInfo]
    input_std: float = 0.0
    broken: int = 0  # index (from 1) of the layer where the run diverged
    thresholds: Thresholds = DEFAULTS

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        info: RunInfo,
        broken: int = 0,
        thresholds: Thresholds = DEFAULTS,
    ) -> "Table":
        """Return the table of a snapshot; layers are numbered where `info` has no names."""
        layers: Sequence[LayerInfo] = info.layers
        if len(layers) != len(snapshot.statistics):
            number = len(snapshot.statistics)
            layers = [LayerInfo(k + 1, str(k + 1), "", 0, "") for k in range(number)]
        return cls(snapshot, layers, info.input_std, broken, thresholds)

    @classmethod
    def of_store(cls, store: RunStore) -> "Table | None":
        """Return the table of what a store shows, None before the first statistics."""
        if store.snapshot is None:
            return None
        layer = store.divergence.detail.get("layer", 0) if store.divergence else 0
        broken = layer if isinstance(layer, int) else 0
        return cls.of(store.snapshot, store.info, broken, thresholds_of(store.folder))

    @property
    def hidden(self) -> int:
        """Number of hidden layers; the table has one more row, the output."""
        return len(self.layers) - 1

    @property
    def deep(self) -> bool:
        """Whether there are enough layers for a trend over depth."""
        return self.hidden >= DEEP

    def gain_role(self, value: float) -> str:
        """Return the role of a gain; none in a network too shallow for a trend over depth."""
        return self.thresholds.gain(value) if self.deep or math.isnan(value) else ""

    def any_activation(self, attribute: str) -> bool:
        """Return whether a hidden layer's non-linearity can saturate, or fall silent."""
        return any(getattr(layer, attribute) is not None for layer in self.layers[:-1])

    def histograms(self, tensor: str, *, log: bool = False) -> tuple[list[Histogram], Axis]:
        """Return the histograms of all layers, and their common axis.

        The output layer counts for the axis only if it is logarithmic, or has no hidden ones.
        """
        number = len(self.layers)
        histograms = [charts.histogram(self.snapshot, k, tensor) for k in range(number)]
        if log:
            return histograms, strips.log_axis(histograms)
        return histograms, charts.common_axis(histograms[:-1] or histograms)

    def gains_forward(self) -> Floats:
        """Return the std of activations per layer, over that of the layer before or the inputs."""
        std = self.snapshot.field("activation", "std")[:-1]
        before = np.concatenate([[self.input_std or math.nan], std[:-1]])
        return np.append(_ratio(std, before), math.nan)

    def gains_backward(self) -> Floats:
        """Return the std of dL/dA per layer, over that of the layer after; NaN for the last two."""
        std = self.snapshot.field("activation_grad", "std")[:-1]
        after = np.concatenate([std[1:], [math.nan]])
        return np.append(_ratio(std, after), math.nan)


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(a / b)


Cells = list[Span]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers, for which `cells` returns a span per layer, or of strips."""

    key: str
    group: str
    title: str
    width: int
    priority: int
    cells: Callable[[Table], Cells] | None = None
    weight: int = 0  # share of the spare width; 0 unless strips
    shown: Callable[[Table], bool] = lambda table: True


def _values(tensor: str, field: str) -> Callable[[Table], Cells]:
    def cells(table: Table) -> Cells:
        values = table.snapshot.field(tensor, field).tolist()
        bad = table.snapshot.field(tensor, "nonfinite").tolist()
        return [statistic(v, n) for v, n in zip(values, bad, strict=True)]

    return cells


def statistic(value: float, nonfinite: float) -> Span:
    """Return a statistic of a tensor; `nonfinite`, its broken values, is NaN without a tensor."""
    if math.isnan(nonfinite):
        return UNKNOWN.glyph, "faint"
    if nonfinite:
        return f"{NOT_FINITE.glyph} NaN", "error"
    return formats.sci(value), "" if value else "faint"


def _where_finite(table: Table, shares: Floats) -> list[float]:
    """Return shares of layers' activations; NaN for layers with some that are not finite."""
    broken = table.snapshot.field("activation", "nonfinite") > 0
    values: list[float] = np.where(broken, np.nan, shares).tolist()
    return values


def _zeros(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.field("activation", "zero_fraction"))
    return _hidden_only([(formats.percent(v), "" if v else "faint") for v in shares])


def _saturated(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.field("activation", "saturated_fraction"))
    return _hidden_only([(formats.percent(v), table.thresholds.saturated(v)) for v in shares])


def _dead(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.dead_fraction)
    return _hidden_only([(formats.percent(v), table.thresholds.dead(v)) for v in shares])


def _update_ratio(table: Table) -> Cells:
    ratios = table.snapshot.update_ratio.tolist()
    return [(formats.log10(v), table.thresholds.update_ratio(v)) for v in ratios]


def _forward(table: Table) -> Cells:
    return _tinted(table, table.gains_forward())


def _backward(table: Table) -> Cells:
    return _tinted(table, table.gains_backward())


def _tinted(table: Table, gains: Floats) -> Cells:
    """Colour gains that are out of bounds; not in a network too shallow for a trend."""
    return [(formats.factor(v), table.gain_role(v)) for v in gains.tolist()]


def _hidden_only(cells: Cells) -> Cells:
    return [*cells[:-1], (UNKNOWN.glyph, "faint")]


def _can_die(table: Table) -> bool:
    return table.any_activation("silent_at")


def _can_saturate(table: Table) -> bool:
    return table.any_activation("saturated")


def _has(*tensors: str) -> Callable[[Table], bool]:
    return lambda table: set(tensors) <= set(table.snapshot.tensors)


COLUMNS: Final = (
    Column("activation", "activation", "", 7, 95, weight=3, shown=_has("activation")),
    Column("mean", "activation", "mean", 8, 60, _values("activation", "mean"),
           shown=_has("activation")),
    Column("std", "activation", "std", 7, 100, _values("activation", "std"),
           shown=_has("activation")),
    Column("zero", "activation", "zero", 4, 55, _zeros, shown=_can_die),
    Column("sat", "activation", "sat.", 4, 75, _saturated, shown=_can_saturate),
    Column("dead", "activation", "dead", 4, 70, _dead, shown=_can_die),
    Column("gradient", "gradient", "", 9, 65, weight=2, shown=_has("activation_grad")),
    Column("gstd", "gradient", "std", 7, 90, _values("activation_grad", "std"),
           shown=_has("activation_grad")),
    Column("gnorm", "gradient", "norm", 7, 40, _values("activation_grad", "norm"),
           shown=_has("activation_grad")),
    Column("weight", "update", "", 14, 20, weight=2, shown=_has("weight_grad")),
    Column("wnorm", "update", "norm", 7, 50, _values("weight_grad", "norm"),
           shown=_has("weight_grad")),
    Column("ratio", "update", "log₁₀ΔW/W", 9, 85, _update_ratio,
           shown=_has("update", "weight")),
    Column("forward", "gain", "fwd →", 6, 93, _forward, shown=_has("activation")),
    Column("backward", "gain", "← bwd", 6, 91, _backward, shown=_has("activation_grad")),
)  # fmt: skip


def choose(table: Table, cells: int, name_width: int) -> dict[str, int]:
    """Return the widths of the columns that fit into `cells`; strips share the spare room."""
    columns = [c for c in COLUMNS if c.shown(table)]
    while len(columns) > 1 and spare(columns, cells, name_width) < 0:
        columns.remove(min(columns, key=lambda c: c.priority))
    widths = {c.key: c.width for c in columns}
    room = max(spare(columns, cells, name_width), 0)
    strips = [c for c in columns if c.weight]
    total = sum(c.weight for c in strips)
    for column in strips:
        share = room * column.weight // total
        widths[column.key] = min(column.width + share, 64)
    return widths


def spare(columns: Sequence[Column], cells: int, name_width: int) -> int:
    """Return the cells left beside the names, the columns and the gaps; negative if too few."""
    groups = len({c.group for c in columns})
    needed = sum(c.width for c in columns) + (len(columns) - groups) * 1 + groups * 3
    return cells - name_width - needed
