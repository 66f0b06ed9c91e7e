"""The arrays of a normalisation: γ, β and the running averages, channel by channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.backends.base import Host
from engine.errors import CheckpointError
from engine.statistics.frames import Floats
from tuilab.charts import formats
from tuilab.charts.bars import about
from tuilab.charts.text import Line, crop, pad, width
from tuilab.viewer.panels.layer.base import Subject, View, as_of, next_page

GAP: Final = 3
ORDER: Final = "channels by size; bars from the initial γ and β"
WAITING: Final = "waiting for the first checkpoint: γ and β are saved about every five seconds"


@dataclass(frozen=True, slots=True)
class NormArray:
    """An array of a normalisation, and how it is drawn."""

    name: str
    symbol: str
    meaning: str
    role: str
    level: float  # the foot of its bars; for γ and β their initial value


ARRAYS: Final = (
    NormArray("gamma", "γ", "scale", "update", 1.0),
    NormArray("beta", "β", "shift", "activation", 0.0),
    NormArray("running_mean", "mean", "of batches", "train", 0.0),
    NormArray("running_var", "variance", "of batches", "gradient", 0.0),
)


def offered(subject: Subject) -> bool:
    """Return whether a layer normalises; a residual block shows that by its parameters."""
    if not subject.saves_parameters:
        return False
    if subject.layer.kind != "residual":
        return bool(subject.layer.normalization)
    try:
        parameters = subject.parameters()
    except CheckpointError:  # reported where the parameters are shown
        return False
    return parameters is not None and bool(blocks(parameters.arrays))


def blocks(arrays: Mapping[str, Host]) -> list[str]:
    """Return the prefixes of the normalisations of a layer: "", or "1." inside a block."""
    return [name.removesuffix("gamma") for name in arrays if name.rsplit(".")[-1] == "gamma"]


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Return a chart per array, values in order of size, in `height` lines of `cells`."""
    parameters = subject.parameters()
    if parameters is None:
        return [crop([(WAITING, "muted")], cells)][:height]
    prefixes = blocks(parameters.arrays)
    if not prefixes:
        return [crop([("this layer has no normalisation", "muted")], cells)][:height]
    prefix = prefixes[subject.state.page % len(prefixes)]
    shown = [array for array in ARRAYS if prefix + array.name in parameters.arrays]
    across = 2 if cells >= 60 else 1
    down = -(-len(shown) // across)
    room, rows = (cells - GAP * (across - 1)) // across, height // down
    boxes = [
        _box(array, parameters.arrays[prefix + array.name].reshape(-1), room, rows)
        for array in shown
    ]
    lines: list[Line] = []
    for start in range(0, len(boxes), across):
        for parts in zip(*boxes[start : start + across], strict=True):
            line: Line = []
            for part in parts:
                line += [*pad(part, room), (" " * GAP, "")]
            lines.append(line[:-1])
    return lines[:height]


def _box(array: NormArray, values: Host, cells: int, height: int) -> list[Line]:
    """Return a title with numbers, and the sorted values as bars, in `height` lines."""
    ordered = np.sort(values.astype(np.float64))
    name: Line = [(array.symbol, f"{array.role}.bold"), (f"  {array.meaning}", "muted")]
    lines = [crop([*name, *_numbers(ordered, cells - width(name))], cells)]
    lines += about(ordered, array.level, array.role, cells, max(height - 2, 1))
    return [*lines, *([] for _ in range(height - len(lines)))][:height]


def _numbers(values: Floats, cells: int) -> Line:
    """Return mean and std, with long or short labels, as far as they fit."""
    if broken := int(np.count_nonzero(~np.isfinite(values))):
        return [(f"  {broken:,} not finite", "error")]
    with np.errstate(over="ignore"):  # squares of large values
        mean, std = formats.number(float(values.mean())), formats.number(float(values.std()))
    for before, between in (("   mean ", "  std "), ("   μ ", "  σ ")):
        line: Line = [(before, "muted"), (mean, ""), (between, "muted"), (std, "")]
        if width(line) <= cells:
            return line
    return []


def title(subject: Subject) -> Line:
    """Return the step of the values, and how they are ordered."""
    parameters = subject.parameters()
    if parameters is None:
        return []
    prefixes = blocks(parameters.arrays)
    words: Line = [*as_of(parameters.step, subject), (f"   {ORDER}", "muted")]
    if len(prefixes) > 1:
        place = f"   normalisation {subject.state.page % len(prefixes) + 1} of {len(prefixes)}"
        words.append((place, "bold"))
    return words


VIEW: Final = View(
    40,
    "γ β",
    "g",
    "γ, β and the running averages of its normalisation",
    offered,
    title,
    draw,
    next_page,
)
