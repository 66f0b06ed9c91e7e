"""The tensors of a layer as large histograms, and one of them over time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, get_args

from engine.statistics.frames import TENSORS, Snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import formats
from tuilab.charts.distributions import Axis, Histogram
from tuilab.charts.text import Line, crop, pad, width
from tuilab.viewer.panels.layer.base import AxisMode, Key, LayerViewState, Subject, View
from tuilab.viewer.panels.layer.over_time import over_time

NAMES: Final = {
    "activation": ("activation", "activation"),
    "pre_activation": ("pre-activation", "activation"),
    "activation_grad": ("dL/dA", "gradient"),
    "weight": ("weights", "train"),
    "weight_grad": ("dL/dW", "update"),
    "update": ("update ΔW", "update"),
}
"""The label and the role of each tensor that the engine measures."""
SHORT: Final = {"pre_activation": "pre-act."}
"""Labels for boxes narrower than ROOMY cells."""
ROOMY: Final = 28
GRID: Final = ("activation", "activation_grad", "weight", "pre_activation", "weight_grad", "update")
COLUMNS: Final = 3
GAP: Final = 3
MODES: Final[tuple[AxisMode, ...]] = get_args(AxisMode)


def tensors(snapshot: Snapshot) -> Sequence[str]:
    """Return the tensors to show: those that the engine measures, then any others."""
    return *GRID, *(name for name in snapshot.tensors if name not in GRID)


def _look(tensor: str) -> tuple[str, str]:
    """Return the label and the role of a tensor."""
    return NAMES.get(tensor, (tensor.replace("_", " "), "train"))


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Return all of it in `height` lines of `cells`."""
    bands = -(-len(tensors(subject.snapshot)) // COLUMNS)
    rows = max((height - 5 - 2 * bands) // (2 * bands + 1), 1)
    upper = _grid(subject, cells, rows)
    room = height - len(upper) - 1
    if room < 5:
        return upper[:height]
    state = subject.state
    history = subject.history(state.tensor)
    name, role = _look(state.tensor)
    if history is None or not len(history.steps):
        words: Line = [(f"  {name} over time: not recorded", "muted")]
        return [*upper, [], crop(words, cells)][:height]
    below = over_time(name, role, state, subject.snapshot.step, history, cells, room)
    return [*upper, [], *below][:height]


def _grid(subject: Subject, cells: int, rows: int) -> list[Line]:
    room = (cells - (COLUMNS - 1) * GAP) // COLUMNS
    names = tensors(subject.snapshot)
    boxes = [_box(subject.state, subject.snapshot, tensor, room, rows) for tensor in names]
    lines: list[Line] = []
    for start in range(0, len(boxes), COLUMNS):
        beside = boxes[start : start + COLUMNS]
        for parts in zip(*beside, strict=True):
            line: Line = []
            for part in parts:
                line += [*pad(part, room), (" " * GAP, "")]
            lines.append(crop(line[:-1], cells))
    return lines


def axis_of(state: LayerViewState, snapshot: Snapshot, tensor: str) -> Axis:
    """Return the axis of a tensor: its own, shared by all hidden layers, fixed, or of |x|."""
    if state.axis == "fixed" and tensor in state.axes:
        return state.axes[tensor]
    own = charts.histogram(snapshot, state.layer - 1, tensor)
    hidden = range(snapshot.hidden)
    shared = state.axis == "shared"
    histograms = [charts.histogram(snapshot, k, tensor) for k in hidden] if shared else [own]
    axis = charts.common_axis(histograms or [own])
    return axis.of_magnitudes() if state.axis == "log" else axis


def fixed(
    state: LayerViewState, snapshot: Snapshot, bounds: tuple[float | None, float | None]
) -> LayerViewState:
    """Return the state with all axes fixed as they are, or to the range of the non-linearity.

    On a fixed axis it is visible over time whether a distribution moves, spreads or dies.
    """
    own = replace(state, axis="own")
    axes: Mapping[str, Axis] = {
        tensor: axis_of(own, snapshot, tensor) for tensor in tensors(snapshot)
    }
    low, high = bounds
    if low is not None and high is not None:
        axes = {**axes, "activation": Axis(low, high)}
    return replace(state, axis="fixed", axes=axes, fixed_at=snapshot.step)


def next_axis(subject: Subject) -> LayerViewState:
    """Return the state with the next kind of axis."""
    state = subject.state
    mode = MODES[(MODES.index(state.axis) + 1) % len(MODES)]
    if mode == "fixed":
        return fixed(state, subject.snapshot, subject.layer.bounds)
    return replace(state, axis=mode, axes={})


def _box(
    state: LayerViewState, snapshot: Snapshot, tensor: str, cells: int, rows: int
) -> list[Line]:
    """Return a title with numbers, the histogram, and its axis."""
    h = charts.histogram(snapshot, state.layer - 1, tensor)
    axis = axis_of(state, snapshot, tensor)
    name, role = _look(tensor)
    if cells < ROOMY:
        name = SHORT.get(tensor, name)
    chosen = tensor == state.tensor
    shown = charts.logarithm if state.logarithmic else charts.square_root
    strips = charts.strip(h, axis, cells, rows, shown)
    name = f"▸ {name}" if chosen else f"  {name}"
    title: Line = [(name, f"{role}.bold"), *_numbers(h, cells - len(name))]
    tint = "error" if h.nonfinite else role
    return [crop(title, cells), *([(line, tint)] for line in strips), _scale(h, axis, cells)]


def _numbers(h: Histogram, cells: int) -> Line:
    """Return mean and std, with long or short labels, as far as they fit."""
    if h.nonfinite:
        return [(f"  {h.nonfinite:,.0f} not finite", "error")]
    if math.isnan(h.mean):
        return [("  not recorded", "faint")]
    mean, std = formats.sci(h.mean), formats.sci(h.std)
    for before, between in (("  mean ", "  std "), ("  μ ", "  σ ")):
        line: Line = [(before, "muted"), (mean, ""), (between, "muted"), (std, "")]
        if width(line) <= cells:
            return line
    return line[2:]


def _scale(h: Histogram, axis: Axis, cells: int) -> Line:
    """Return both ends of the axis, and between them what the histogram leaves out.

    A tensor that is not recorded has no axis.
    """
    if not h.nonfinite and math.isnan(h.mean):
        return []
    low, high = formats.short(axis.low), formats.short(axis.high)
    zeros = h.zeros / h.total if h.total else 0.0
    middle = f"{formats.percent(zeros)} zero" if zeros >= 0.005 else ""
    if axis.log:
        less = charts.smaller(h, axis)
        small = f"{formats.percent(less)} smaller" if less >= 0.005 else ""
        middle = "   ".join(filter(None, (small, "log |x|", middle)))
    room = cells - len(low) - len(high)
    if room < 1:  # two numbers would read as one
        return [(f"{high:>{cells}}", "muted")]
    if room < len(middle) + 2:
        middle = ""
    return [(low + f"{middle:^{max(room, 0)}}" + high, "muted")]


def title(subject: Subject) -> Line:
    """Return which axis and which heights are used."""
    state = subject.state
    axis = {
        "own": "separate",
        "shared": "shared by all layers",
        "fixed": f"fixed at step {state.fixed_at:,}",
        "log": "log |x|",
    }[state.axis]
    heights = "log" if state.logarithmic else "√"
    words: Line = [("axis ", "muted"), (axis, "bold" if state.axis != "own" else "")]
    return [*words, ("   heights ", "muted"), (heights, "bold" if state.logarithmic else "")]


def turn(subject: Subject, by: int) -> LayerViewState:
    """Return the state with the next tensor of the grid."""
    state, names = subject.state, tensors(subject.snapshot)
    return replace(state, tensor=names[(names.index(state.tensor) + by) % len(names)])


VIEW: Final = View(
    10,
    "histograms",
    "h",
    "its tensors, and the selected one over time",
    lambda subject: True,
    title,
    draw,
    turn,
    keys=(
        Key(8, "tab", "tensor", "the next tensor over time"),
        Key(5, "x", "axis", "axis: separate, shared by all layers, fixed as it is now, log |x|"),
        Key(4, "y", "heights", "heights of the histograms: √, or log"),
    ),
)
assert set(GRID) == set(TENSORS)
