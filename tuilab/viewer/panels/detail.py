"""One layer alone: large histograms of its six tensors, and one of them over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.frames import TENSORS, Snapshot
from tuilab.recording import History
from tuilab.viewer import axes, charts, formats, plot
from tuilab.viewer.charts import Axis, Histogram
from tuilab.viewer.series import Reduced
from tuilab.viewer.text import Line, crop, pad, width

NAMES: Final = {
    "activation": ("activation", "activation"),
    "pre_activation": ("pre-activation", "activation"),
    "activation_grad": ("dL/dA", "gradient"),
    "weight": ("weights", "train"),
    "weight_grad": ("dL/dW", "update"),
    "update": ("update ΔW", "update"),
}
"""What each tensor is called, and its hue."""
GRID: Final = ("activation", "activation_grad", "weight", "pre_activation", "weight_grad", "update")
COLUMNS: Final = 3
GAP: Final = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What of a layer is looked at, and how."""

    layer: int = 1  # from 1
    tensor: str = "activation"
    shared: bool = False  # one axis for all hidden layers, not each tensor its own
    logarithmic: bool = False  # heights of the histograms

    def cycle(self, by: int) -> "Look":
        """Return the look at the next tensor of the grid."""
        return replace(self, tensor=GRID[(GRID.index(self.tensor) + by) % len(GRID)])


def detail(
    look: Look, snapshot: Snapshot, history: History | None, cells: int, height: int
) -> list[Line]:
    """Draw everything into `height` lines of `cells`."""
    rows = max((height - 9) // 5, 1)
    upper = _grid(look, snapshot, cells, rows)
    room = height - len(upper) - 1
    if history is None or not len(history.steps) or room < 5:
        return upper[:height]
    return [*upper, [], *_over_time(look, snapshot, history, cells, room)][:height]


def _grid(look: Look, snapshot: Snapshot, cells: int, rows: int) -> list[Line]:
    each = (cells - (COLUMNS - 1) * GAP) // COLUMNS
    boxes = [_box(look, snapshot, tensor, each, rows) for tensor in GRID]
    lines: list[Line] = []
    for start in range(0, len(GRID), COLUMNS):
        beside = boxes[start : start + COLUMNS]
        for parts in zip(*beside, strict=True):
            line: Line = []
            for part in parts:
                line += [*pad(part, each), (" " * GAP, "")]
            lines.append(crop(line[:-1], cells))
    return lines


def axis_of(look: Look, snapshot: Snapshot, tensor: str) -> Axis:
    """Return the axis of one tensor: its own, or that of all hidden layers."""
    own = charts.histogram(snapshot, look.layer - 1, tensor)
    hidden = range(len(snapshot.statistics) - 1)
    every = [charts.histogram(snapshot, k, tensor) for k in hidden] if look.shared else [own]
    return charts.common_axis(every or [own])


def _box(look: Look, snapshot: Snapshot, tensor: str, cells: int, rows: int) -> list[Line]:
    """Return a title with the numbers, the histogram, and its axis."""
    h = charts.histogram(snapshot, look.layer - 1, tensor)
    axis = axis_of(look, snapshot, tensor)
    name, role = NAMES[tensor]
    chosen = tensor == look.tensor
    shown = charts.logarithm if look.logarithmic else charts.square_root
    strips = charts.strip(h, axis, cells, rows, shown)
    name = f"▸ {name}" if chosen else f"  {name}"
    title: Line = [(name, f"{role}.bold"), *_numbers(h, cells - len(name))]
    hue = "error" if h.nonfinite else role
    return [crop(title, cells), *([(line, hue)] for line in strips), _scale(h, axis, cells)]


def _numbers(h: Histogram, cells: int) -> Line:
    """Return mean and spread, in words or in Greek, as far as they fit."""
    if h.nonfinite:
        return [(f"  {h.nonfinite:,.0f} not finite", "error")]
    if math.isnan(h.mean):
        return [("  not measured", "faint")]
    mean, std = formats.sci(h.mean), formats.sci(h.std)
    for before, between in (("  mean ", "  std "), ("  μ ", "  σ ")):
        line: Line = [(before, "muted"), (mean, ""), (between, "muted"), (std, "")]
        if width(line) <= cells:
            return line
    return line[2:]


def _scale(h: Histogram, axis: Axis, cells: int) -> Line:
    """Write both ends of the axis, and between them what the histogram leaves out."""
    low, high = formats.short(axis.low), formats.short(axis.high)
    zeros = h.zeros / h.total if h.total else 0.0
    middle = f"{formats.percent(zeros)} zero" if zeros >= 0.005 else ""
    room = cells - len(low) - len(high)
    if room < 1:  # two numbers would read as one
        return [(f"{high:>{cells}}", "muted")]
    if room < len(middle) + 2:
        middle = ""
    return [(low + f"{middle:^{max(room, 0)}}" + high, "muted")]


def _over_time(
    look: Look, snapshot: Snapshot, history: History, cells: int, height: int
) -> list[Line]:
    """Draw the heat map of the chosen tensor, and its mean and spread where there is room."""
    name, role = NAMES[look.tensor]
    beside = cells >= 100
    wide = cells * 3 // 5 if beside else cells
    title: Line = [(f"  {name} over time", f"{role}.bold"), ("   ↑ value  → step", "muted")]
    left = [title, *_heat_map(look, snapshot, history, role, wide, height - 1)]
    if not beside:
        return left
    right: list[Line] = [[("mean and mean ± std", f"{role}.bold")]]
    right += _spread(history, role, cells - wide - GAP, height - 1)
    right += [[] for _ in range(len(left) - len(right))]
    return [[*pad(a, wide), (" " * GAP, ""), *b] for a, b in zip(left, right, strict=False)]


def _heat_map(
    look: Look, snapshot: Snapshot, history: History, role: str, cells: int, height: int
) -> list[Line]:
    found = [_past(history, at) for at in range(len(history.steps))]
    axis = charts.common_axis(found)
    labels = [formats.short(axis.high), formats.short(axis.low)]
    gutter = max(map(len, labels))
    rows, columns = height - 2, cells - gutter - 1
    if rows < 2 or columns < 10:
        return []
    last = max(float(history.steps[-1]), 1.0)
    wanted = np.linspace(0, last, columns)
    at = np.searchsorted(history.steps, wanted, side="right") - 1
    shades = charts.heat([found[max(place, 0)] for place in at.tolist()], axis, rows)
    cursor = round(snapshot.step / last * (columns - 1))
    lines: list[Line] = []
    for row, text in enumerate(shades):
        label = labels[0] if row == 0 else labels[1] if row == rows - 1 else ""
        edge = f"{label:>{gutter}}{'┤' if label else '│'}"
        mark = text[cursor] if text[cursor] != " " else "│"
        pieces = [(text[:cursor], role), (mark, "warning"), (text[cursor + 1 :], role)]
        lines.append([(edge, "muted"), *(piece for piece in pieces if piece[0])])
    return lines + axes.step_axis((0.0, last), gutter, columns)


def _past(history: History, at: int) -> Histogram:
    low, high = history.ranges[at].tolist()
    bins = history.histograms[at]
    return Histogram(
        bins,
        low,
        high,
        mean=float(history.mean[at]),
        std=float(history.std[at]),
        min=float(history.min[at]),
        max=float(history.max[at]),
        zeros=float(np.nan_to_num(history.zeros[at])),
        nonfinite=0.0 if math.isfinite(history.std[at]) else 1.0,
    )


def _spread(history: History, role: str, cells: int, height: int) -> list[Line]:
    mean, std = history.mean, history.std
    series: Sequence[tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], str]] = (
        (mean + std, f"{role}.dim"),
        (mean - std, f"{role}.dim"),
        (mean, role),
    )
    curves = [plot.Curve(Reduced(history.steps, y, y, y), hue) for y, hue in series]
    return plot.draw(plot.Chart(curves), cells, height)


assert set(GRID) == set(TENSORS)
