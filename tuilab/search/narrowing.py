"""From one stage to the next: the range around the best trials, and values at the edge of theirs.

The lecture: "If the best value lies at the edge of the range, you may be missing better ones
beyond it."
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tuilab.scenario.search.space import Choice, Parameter, Range, Space
from tuilab.search.results import Row, StageResult

MARGIN: Final = 0.1  # of the old range, added on each side of the best trials
LEAST: Final = 0.15  # of the old range: a new one is at least as wide
EDGE: Final = 0.1  # of a range: so near its end, the best value lies at the edge
COMPANY: Final = 0.25  # of a range: there, most of the good trials must lie too
BEYOND: Final = 0.5  # widths of a range by which it is extended, but by no more than
DECADES: Final = 1.0  # so many powers of ten


@dataclass(frozen=True, slots=True)
class Edge:
    """The best values lie at one end of a range; `wider` is the range to try, None if none is."""

    key: str
    value: float
    range: Range
    upper: bool
    wider: Range | None

    @property
    def text(self) -> str:
        """The warning in words."""
        end = "upper" if self.upper else "lower"
        said = f"{self.key}: best at {self.value:.3g}, the {end} edge of {self.range.text}"
        if self.wider is None:
            return f"{said}, beyond which the scenario allows none"
        return f"{said}; better ones may lie beyond: try {self.wider.text}"


def edges(
    result: StageResult, *, maximize: bool, allowed: Callable[[str, Any], bool]
) -> list[Edge]:
    """Return the ranges at whose edge the best values lie.

    `allowed` tells whether the scenario could have a value at a key.
    """
    good = result.ranked(maximize=maximize)[: result.stage.best]
    found = []
    for key, parameter in result.space.items():
        if isinstance(parameter, Range) and (edge := _edge(key, parameter, good)) is not None:
            end = edge.wider and (edge.wider.high if edge.upper else edge.wider.low)
            found.append(edge if end is None or allowed(key, end) else replace(edge, wider=None))
    return found


def _edge(key: str, range_: Range, good: Sequence[Row]) -> Edge | None:
    places = [range_.position(row.point[key]) for row in good]
    for upper in (True, False):
        near = [1 - place if upper else place for place in places]
        if near and near[0] <= EDGE and 2 * sum(each <= COMPANY for each in near) > len(near):
            room = _beyond(range_)
            wider = range_.within(0, 1 + room) if upper else range_.within(-room, 1)
            return Edge(key, good[0].point[key], range_, upper, wider)
    return None


def narrowed(result: StageResult, *, maximize: bool, taken: Sequence[Edge] = ()) -> Space:
    """Return the ranges around the best trials of a stage; wider beyond the edges in `taken`."""
    good = result.ranked(maximize=maximize)[: result.stage.best]
    beyond = {edge.key: edge for edge in taken}
    return Space({
        key: _narrowed(parameter, [row.point[key] for row in good], beyond.get(key))
        for key, parameter in result.space.items()
    })  # fmt: skip


def _narrowed(parameter: Parameter, values: Sequence[Any], edge: Edge | None) -> Parameter:
    if not values:
        return parameter
    if isinstance(parameter, Choice):
        kept = tuple(value for value in parameter.values if value in values)
        return Choice(kept)
    places = [parameter.position(value) for value in values]
    low, high = min(places) - MARGIN, max(places) + MARGIN
    missing = max(0.0, LEAST - (high - low)) / 2
    low, high = max(low - missing, 0.0), min(high + missing, 1.0)
    if edge is not None and edge.wider is not None:
        found = parameter.within(low, high)
        if edge.upper:
            return replace(found, high=edge.wider.high)
        return replace(found, low=edge.wider.low)
    return parameter.within(low, high)


def _beyond(range_: Range) -> float:
    if not range_.logarithmic:
        return BEYOND
    return min(BEYOND, DECADES / math.log10(range_.high / range_.low))
