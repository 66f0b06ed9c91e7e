"""A tensor of a layer over time: its histogram as a heat map, mean and std as curves."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from tuilab.charts import axes, formats, plot
from tuilab.charts import distributions as charts
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.series import Reduced
from tuilab.charts.text import Line, pad
from tuilab.record import History
from tuilab.viewer.panels.layer.base import LayerViewState

GAP: Final = 3


def over_time(
    name: str,
    role: str,
    state: LayerViewState,
    step: int,
    history: History,
    cells: int,
    height: int,
) -> list[Line]:
    """Return the heat map of a tensor, with its mean and std where there is room.

    `name` and `role` are the tensor's, `step` is the one that is looked at.
    """
    beside = cells >= 100
    wide = cells * 3 // 5 if beside else cells
    up = "log |x|" if state.axis == "log" else "value"
    title: Line = [(f"  {name} over time", f"{role}.bold"), (f"   ↑ {up}  → step", "muted")]
    left = [title, *_heat_map(state, step, history, role, wide, height - 1)]
    if not beside:
        return left
    right: list[Line] = [[("mean and mean ± std", f"{role}.bold")]]
    right += _spread(history, role, cells - wide - GAP, height - 1)
    right += [[] for _ in range(len(left) - len(right))]
    return [[*pad(a, wide), (" " * GAP, ""), *b] for a, b in zip(left, right, strict=False)]


def _axis(state: LayerViewState, histograms: list[Histogram]) -> Axis:
    if state.axis == "fixed" and state.tensor in state.axes:
        return state.axes[state.tensor]
    axis = charts.common_axis(histograms)
    return axis.of_magnitudes() if state.axis == "log" else axis


def _heat_map(
    state: LayerViewState, step: int, history: History, role: str, cells: int, height: int
) -> list[Line]:
    histograms = [_past(history, at) for at in range(len(history.steps))]
    axis = _axis(state, histograms)
    labels = [formats.short(axis.high), formats.short(axis.low)]
    gutter = max(map(len, labels))
    rows, columns = height - 2, cells - gutter - 1
    if rows < 2 or columns < 10:
        return []
    last = max(float(history.steps[-1]), 1.0)
    steps = np.linspace(0, last, columns)
    at = np.searchsorted(history.steps, steps, side="right") - 1
    shades = charts.heat([histograms[max(place, 0)] for place in at.tolist()], axis, rows)
    cursor = round(step / last * (columns - 1))
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
        zeros=float(np.nan_to_num(history.zero_fraction[at]) * bins.sum()),
        nonfinite=0.0 if math.isfinite(history.std[at]) else 1.0,
    )


def _spread(history: History, role: str, cells: int, height: int) -> list[Line]:
    mean, std = history.mean, history.std
    series: Sequence[tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], str]] = (
        (mean + std, f"{role}.dim"),
        (mean - std, f"{role}.dim"),
        (mean, role),
    )
    curves = [plot.Curve(Reduced.of(history.steps, y), tint) for y, tint in series]
    return plot.draw(plot.Chart(curves), cells, height)
