"""The columns of the layer table: what each shows, how wide it is, and which goes first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats, LayerInfo, Snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import formats, strips
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.text import Span
from tuilab.diagnosis.base import DEEP
from tuilab.diagnosis.rules.dead_units import DeadUnits
from tuilab.diagnosis.rules.gain import GrowingActivations, ShrinkingActivations
from tuilab.diagnosis.rules.learning_rate import HighLearningRate, LowLearningRate
from tuilab.diagnosis.rules.saturation import Saturation
from tuilab.record import RunInfo

GAIN_HEALTHY: Final = (ShrinkingActivations().warning, GrowingActivations().warning)
GAIN_USABLE: Final = (ShrinkingActivations().error, GrowingActivations().error)
RATIO_HEALTHY: Final = (LowLearningRate().update_ratio, HighLearningRate().warning)
RATIO_USABLE: Final = HighLearningRate().error
DEAD: Final = (DeadUnits().warning, DeadUnits().error)
SATURATED: Final = Saturation().share


@dataclass(frozen=True)
class Table:
    """What the columns draw from: one snapshot, and the run it belongs to."""

    snapshot: Snapshot
    layers: Sequence[LayerInfo]
    input_std: float = 0.0
    broken: int = 0  # index (from 1) of the layer where the run diverged

    @classmethod
    def of(cls, snapshot: Snapshot, info: RunInfo, broken: int = 0) -> "Table":
        """Take layer names from `info`, or number the layers where it has none."""
        layers: Sequence[LayerInfo] = info.layers
        if len(layers) != len(snapshot.statistics):
            number = len(snapshot.statistics)
            layers = [LayerInfo(k + 1, str(k + 1), "", 0, "") for k in range(number)]
        return cls(snapshot, layers, info.input_std, broken)

    @property
    def hidden(self) -> int:
        """Number of hidden layers; one row more is the output."""
        return len(self.layers) - 1

    @property
    def deep(self) -> bool:
        """Tell whether there are layers enough for a trend over depth."""
        return self.hidden >= DEEP

    def any_activation(self, attribute: str) -> bool:
        """Tell whether a hidden layer's non-linearity can saturate, or fall silent."""
        return any(getattr(layer, attribute) is not None for layer in self.layers[:-1])

    def histograms(self, tensor: str, *, log: bool = False) -> tuple[list[Histogram], Axis]:
        """Return every layer's histogram, and the axis that the hidden ones share, or all do."""
        number = len(self.layers)
        found = [charts.histogram(self.snapshot, k, tensor) for k in range(number)]
        if log:
            return found, strips.log_axis(found)
        return found, charts.common_axis(found[:-1] or found)

    def gains_forward(self) -> Floats:
        """Std of each layer's activations over that of the layer before; the first: the input's."""
        std = self.snapshot.field("activation", "std")[:-1]
        before = np.concatenate([[self.input_std or math.nan], std[:-1]])
        return np.append(_ratio(std, before), math.nan)

    def gains_backward(self) -> Floats:
        """Std of each layer's dL/dA over that of the layer after it; the last hidden has none."""
        std = self.snapshot.field("activation_grad", "std")[:-1]
        after = np.concatenate([std[1:], [math.nan]])
        return np.append(_ratio(std, after), math.nan)


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(a / b)


def gain_role(value: float) -> str:
    """Tint a gain that is out of bounds."""
    return _band(value, GAIN_HEALTHY, GAIN_USABLE)


def update_ratio_role(value: float) -> str:
    """Tint an update ratio that is out of bounds."""
    return _band(value, RATIO_HEALTHY, (0.0, RATIO_USABLE))


def dead_role(share: float) -> str:
    """Tint a share of dead units that is too high."""
    return "error" if share > DEAD[1] else "warning" if share > DEAD[0] else ""


def _band(value: float, healthy: tuple[float, float], usable: tuple[float, float]) -> str:
    if math.isnan(value):
        return "faint"
    if not usable[0] <= value <= usable[1]:
        return "error"
    return "" if healthy[0] <= value <= healthy[1] else "warning"


Cells = list[Span]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers: `cells` gives one span a layer; strips are drawn by the panel."""

    key: str
    group: str
    title: str
    width: int
    priority: int
    cells: Callable[[Table], Cells] | None = None
    weight: int = 0  # share of the spare width, for strips
    shown: Callable[[Table], bool] = lambda table: True


def _values(tensor: str, field: str) -> Callable[[Table], Cells]:
    def cells(table: Table) -> Cells:
        values = table.snapshot.field(tensor, field).tolist()
        bad = table.snapshot.field(tensor, "nonfinite").tolist()
        return [
            (formats.sci(v) if not n else "✕ NaN", "error" if n else "faint" if v == 0 else "")
            for v, n in zip(values, bad, strict=True)
        ]

    return cells


def _where_finite(table: Table, shares: Floats) -> list[float]:
    """Return shares of a layer's activations; NaN where not all of these are finite."""
    broken = table.snapshot.field("activation", "nonfinite") > 0
    values: list[float] = np.where(broken, np.nan, shares).tolist()
    return values


def _zeros(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.field("activation", "zero_fraction"))
    return _hidden_only([(formats.percent(v), "" if v else "faint") for v in shares])


def _saturated(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.field("activation", "saturated_fraction"))
    tints = ["warning" if v > SATURATED else "" for v in shares]
    return _hidden_only([(formats.percent(v), tint) for v, tint in zip(shares, tints, strict=True)])


def _dead(table: Table) -> Cells:
    shares = _where_finite(table, table.snapshot.dead_fraction)
    return _hidden_only([(formats.percent(v), dead_role(v)) for v in shares])


def _update_ratio(table: Table) -> Cells:
    ratios = table.snapshot.update_ratio.tolist()
    return [(formats.log10(v), update_ratio_role(v)) for v in ratios]


def _forward(table: Table) -> Cells:
    return _tinted(table, table.gains_forward())


def _backward(table: Table) -> Cells:
    return _tinted(table, table.gains_backward())


def _tinted(table: Table, gains: Floats) -> Cells:
    """Tint gains that are out of bounds, but not where a single layer makes half of the depth."""
    roles = [gain_role(v) if table.deep or math.isnan(v) else "" for v in gains.tolist()]
    return [(formats.factor(v), role) for v, role in zip(gains.tolist(), roles, strict=True)]


def _hidden_only(cells: Cells) -> Cells:
    return [*cells[:-1], ("–", "faint")]


def _falls_silent(table: Table) -> bool:
    return table.any_activation("silent_at")


def _saturates(table: Table) -> bool:
    return table.any_activation("saturated")


COLUMNS: Final = (
    Column("activation", "activation", "", 7, 95, weight=3),
    Column("mean", "activation", "mean", 8, 60, _values("activation", "mean")),
    Column("std", "activation", "std", 7, 100, _values("activation", "std")),
    Column("zero", "activation", "zero", 4, 55, _zeros, shown=_falls_silent),
    Column("sat", "activation", "sat.", 4, 75, _saturated, shown=_saturates),
    Column("dead", "activation", "dead", 4, 70, _dead, shown=_falls_silent),
    Column("gradient", "gradient", "", 9, 65, weight=2),
    Column("gstd", "gradient", "std", 7, 90, _values("activation_grad", "std")),
    Column("gnorm", "gradient", "norm", 7, 40, _values("activation_grad", "norm")),
    Column("weight", "update", "", 14, 20, weight=2),
    Column("wnorm", "update", "norm", 7, 50, _values("weight_grad", "norm")),
    Column("ratio", "update", "log₁₀ΔW/W", 9, 85, _update_ratio),
    Column("forward", "gain", "fwd →", 6, 93, _forward),
    Column("backward", "gain", "← bwd", 6, 91, _backward),
)  # fmt: skip


def choose(table: Table, cells: int, name_width: int) -> dict[str, int]:
    """Return the columns that fit into `cells`, with their widths; strips take the spare room."""
    kept = [c for c in COLUMNS if c.shown(table)]
    while len(kept) > 1 and spare(kept, cells, name_width) < 0:
        kept.remove(min(kept, key=lambda c: c.priority))
    widths = {c.key: c.width for c in kept}
    room = max(spare(kept, cells, name_width), 0)
    strips = [c for c in kept if c.weight]
    total = sum(c.weight for c in strips)
    for column in strips:
        share = room * column.weight // total
        widths[column.key] = min(column.width + share, 64)
    return widths


def spare(columns: Sequence[Column], cells: int, name_width: int) -> int:
    """Return the room that is left beside the names, the columns and what stands between them."""
    groups = len({c.group for c in columns})
    needed = sum(c.width for c in columns) + (len(columns) - groups) * 1 + groups * 3
    return cells - name_width - needed
