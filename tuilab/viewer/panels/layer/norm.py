"""What a normalisation has learned and keeps: γ, β and the running averages, channel by channel."""

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
ORDER: Final = "channels by size; bars from where γ and β begin"
WAITING: Final = "waiting for the first checkpoint: γ and β are saved about every five seconds"


@dataclass(frozen=True, slots=True)
class Kept:
    """One of the arrays of a normalisation, as it is drawn."""

    name: str
    symbol: str
    meaning: str
    role: str
    level: float  # on which its bars stand: of γ and β, where they begin


KEPT: Final = (
    Kept("gamma", "γ", "scale", "update", 1.0),
    Kept("beta", "β", "shift", "activation", 0.0),
    Kept("running_mean", "mean", "of batches", "train", 0.0),
    Kept("running_var", "variance", "of batches", "gradient", 0.0),
)


def offered(subject: Subject) -> bool:
    """Tell whether a layer normalises; of a residual block, its parameters tell."""
    if subject.layer.kind != "residual":
        return bool(subject.layer.normalization)
    try:
        parameters = subject.parameters()
    except CheckpointError:  # which is told where parameters are looked at
        return False
    return parameters is not None and bool(blocks(parameters.arrays))


def blocks(arrays: Mapping[str, Host]) -> list[str]:
    """Return the prefixes of the normalisations in a layer: "" for its own, "1." inside a block."""
    return [name.removesuffix("gamma") for name in arrays if name.rsplit(".")[-1] == "gamma"]


def draw(subject: Subject, cells: int, height: int) -> list[Line]:
    """Draw a chart of each array, its values in order of size, into `height` lines of `cells`."""
    parameters = subject.parameters()
    if parameters is None:
        return [crop([(WAITING, "muted")], cells)][:height]
    prefixes = blocks(parameters.arrays)
    if not prefixes:
        return [crop([("nothing is normalised here", "muted")], cells)][:height]
    prefix = prefixes[subject.look.page % len(prefixes)]
    kept = [each for each in KEPT if prefix + each.name in parameters.arrays]
    across = 2 if cells >= 60 else 1
    down = -(-len(kept) // across)
    each, rows = (cells - GAP * (across - 1)) // across, height // down
    boxes = [_box(k, parameters.arrays[prefix + k.name].reshape(-1), each, rows) for k in kept]
    lines: list[Line] = []
    for start in range(0, len(boxes), across):
        for parts in zip(*boxes[start : start + across], strict=True):
            line: Line = []
            for part in parts:
                line += [*pad(part, each), (" " * GAP, "")]
            lines.append(line[:-1])
    return lines[:height]


def _box(kept: Kept, values: Host, cells: int, height: int) -> list[Line]:
    """Return a title with the numbers and the sorted values as bars, `height` lines in all."""
    ordered = np.sort(values.astype(np.float64))
    name: Line = [(kept.symbol, f"{kept.role}.bold"), (f"  {kept.meaning}", "muted")]
    lines = [crop([*name, *_numbers(ordered, cells - width(name))], cells)]
    lines += about(ordered, kept.level, kept.role, cells, max(height - 2, 1))
    return [*lines, *([] for _ in range(height - len(lines)))][:height]


def _numbers(values: Floats, cells: int) -> Line:
    """Return mean and spread, in words or in Greek, as far as they fit."""
    if broken := int(np.count_nonzero(~np.isfinite(values))):
        return [(f"  {broken:,} not finite", "error")]
    with np.errstate(over="ignore"):  # of values whose squares are beyond what there is
        mean, std = formats.number(float(values.mean())), formats.number(float(values.std()))
    for before, between in (("   mean ", "  std "), ("   μ ", "  σ ")):
        line: Line = [(before, "muted"), (mean, ""), (between, "muted"), (std, "")]
        if width(line) <= cells:
            return line
    return []


def title(subject: Subject) -> Line:
    """Say of which step the values are, and how they are laid out."""
    parameters = subject.parameters()
    if parameters is None:
        return []
    prefixes = blocks(parameters.arrays)
    words: Line = [*as_of(parameters.step, subject), (f"   {ORDER}", "muted")]
    if len(prefixes) > 1:
        place = f"   normalisation {subject.look.page % len(prefixes) + 1} of {len(prefixes)}"
        words.append((place, "bold"))
    return words


VIEW: Final = View(
    "γ β",
    "g",
    "γ, β and the running averages of its normalisation",
    offered,
    title,
    draw,
    next_page,
)
