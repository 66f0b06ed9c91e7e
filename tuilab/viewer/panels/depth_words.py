"""A tree of modules in words: how signals change from block to block."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.statistics.frames import gain
from tuilab.charts import formats
from tuilab.viewer.model.layer_table import Table
from tuilab.viewer.model.layer_tree import Node

FEW: Final = 3  # blocks from which on there is a trend
SLOW: Final = 4.0  # factor over all blocks from which on a slow trend is one


@dataclass(frozen=True, slots=True)
class Trend:
    """How the spread of a tensor changes over blocks that are alike."""

    where: str  # the layer that changes most: "mlp.c_proj"
    blocks: str  # "h.0–11"
    factor: float  # per block, in the direction of the signal
    low: float
    high: float


def trend(table: Table, nodes: Sequence[Node], tensor: str, *, back: bool = False) -> Trend | None:
    """Return the strongest trend of a tensor over repeated blocks; None without enough blocks.

    With `back`, the factor is from a block to the one before.
    """
    std = table.snapshot.field(tensor, "std")
    trends = []
    for group, node in _sets(nodes):
        values = std[list(node.members)]
        factor = gain(values[::-1] if back else values)
        if factor > 0 and math.isfinite(factor):
            ends = float(values.min()), float(values.max())
            trends.append(Trend(node.label, group.label, factor, *ends))
    return max(trends, key=lambda one: abs(math.log(one.factor)), default=None)


def _sets(nodes: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Yield each layer that is repeated in several blocks, with their group."""
    for node in nodes:
        for child in node.children if node.group else ():
            if child.group:
                yield from _sets([child])
            elif len(child.members) >= FEW:
                yield node, child


def sentence(what: str, one: Trend, table: Table) -> tuple[str, str, str]:
    """Return the role of a trend, what it is, and the numbers behind it."""
    low, high = table.thresholds.healthy_gain
    slowly = " slowly" if low <= one.factor <= high else ""
    does = f"{'shrink' if one.factor < 1 else 'grow'}{slowly}"
    if slowly and one.high < SLOW * one.low:
        does = "keep their size"
    head = f"{what} {does} over {one.blocks}: {formats.factor(one.factor)} per block"
    rest = f"most in {one.where}, std {formats.span(one.low, one.high)}"
    return table.thresholds.gain(one.factor), head, rest
