"""Positive numbers as a line of eighth blocks on a logarithmic scale.

An eighth of the cell is left free, so that adjacent rows stay apart.
"""

import math
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts.rounding import settled

BLOCKS: Final = "▁▂▃▄▅▆▇"
LEAST: Final = 4.0  # factor between the lowest and the highest block at least


def sparkline(values: Floats, cells: int) -> str:
    """Draw `values` from left to right in up to `cells` cells; those not above 0 leave gaps.

    Differences are those of logarithms, and equal numbers form a line at half height. If there are
    more values than cells, each cell has the geometric mean of several.
    """
    with np.errstate(all="ignore"):
        logs = np.where(np.isfinite(values) & (values > 0), np.log(values), np.nan)
    parts = np.array_split(logs, cells) if len(logs) > cells else np.split(logs, len(logs))
    means = [float(part[~np.isnan(part)].mean()) for part in parts if not np.isnan(part).all()]
    if not means:
        return " " * len(parts)
    middle, reach = (min(means) + max(means)) / 2, max(max(means) - min(means), math.log(LEAST)) / 2
    drawn = iter(means)
    line = ""
    for part in parts:
        if np.isnan(part).all():
            line += " "
            continue
        share = (next(drawn) - middle) / reach / 2 + 0.5
        line += BLOCKS[min(math.floor(settled(share * len(BLOCKS))), len(BLOCKS) - 1)]
    return line
