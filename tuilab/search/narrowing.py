"""From one stage to the next: ranges around the best trials, and values at the edge of a range.

The lecture: "If the best value lies at the edge of the range, you may be missing better ones
beyond it."
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tuilab.scenario.search.space import Choice, Parameter, Range, Space
from tuilab.search.results import Row, StageResult

MARGIN: Final = 0.1  # of the old range, added on either side of the best trials
LEAST: Final = 0.15  # of the old range: minimal width of a new one
EDGE: Final = 0.1  # of a range: a best value this close to an end lies at its edge
NEARBY: Final = 0.25  # of a range: most of the best trials must lie this close too
BEYOND: Final = 0.5  # of a range: width of an extension, limited to
DECADES: Final = 1.0  # powers of ten


@dataclass(frozen=True, slots=True)
class Edge:
    """Best values at one end of a range; `wider` is the range to try, None if none is allowed."""

    key: str
    value: float
    range: Range
    upper: bool
    wider: Range | None

    @property
    def text(self) -> str:
        """The warning in words."""
        end = "upper" if self.upper else "lower"
        text = f"{self.key}: best at {self.value:.3g}, the {end} edge of {self.range.text}"
        if self.wider is None:
            return f"{text}; the scenario allows no values beyond it"
        return f"{text}; better values may lie beyond it: try {self.wider.text}"


def edges(
    result: StageResult, *, maximize: bool, allowed: Callable[[str, Any], bool]
) -> list[Edge]:
    """Return the ranges at whose edge the best values lie.

    `allowed(key, value)` returns whether the scenario accepts a value at a key.
    """
    best = result.ranked(maximize=maximize)[: result.stage.best]
    edges = []
    for key, parameter in result.space.items():
        if isinstance(parameter, Range) and (edge := _edge(key, parameter, best)) is not None:
            end = edge.wider and (edge.wider.high if edge.upper else edge.wider.low)
            edges.append(edge if end is None or allowed(key, end) else replace(edge, wider=None))
    return edges


def _edge(key: str, range_: Range, best: Sequence[Row]) -> Edge | None:
    places = [range_.position(row.point[key]) for row in best]
    for upper in (True, False):
        near = [1 - place if upper else place for place in places]
        if (
            near
            and near[0] <= EDGE
            and 2 * sum(distance <= NEARBY for distance in near) > len(near)
        ):
            room = _beyond(range_)
            wider = range_.within(0, 1 + room) if upper else range_.within(-room, 1)
            return Edge(key, best[0].point[key], range_, upper, wider)
    return None


def narrowed(result: StageResult, *, maximize: bool, extended: Sequence[Edge] = ()) -> Space:
    """Return the ranges around the best trials of a stage, extended at the edges in `extended`."""
    best = result.ranked(maximize=maximize)[: result.stage.best]
    beyond = {edge.key: edge for edge in extended}
    return Space({
        key: _narrowed(parameter, [row.point[key] for row in best], beyond.get(key))
        for key, parameter in result.space.items()
    })  # fmt: skip


def _narrowed(parameter: Parameter, values: Sequence[Any], edge: Edge | None) -> Parameter:
    if not values:
        return parameter
    if isinstance(parameter, Choice):
        return Choice(tuple(value for value in parameter.values if value in values))
    places = [parameter.position(value) for value in values]
    low, high = min(places) - MARGIN, max(places) + MARGIN
    missing = max(0.0, LEAST - (high - low)) / 2
    low, high = max(low - missing, 0.0), min(high + missing, 1.0)
    if edge is not None and edge.wider is not None:
        inner = parameter.within(low, high)
        if edge.upper:
            return replace(inner, high=edge.wider.high)
        return replace(inner, low=edge.wider.low)
    return parameter.within(low, high)


def _beyond(range_: Range) -> float:
    if not range_.logarithmic:
        return BEYOND
    return min(BEYOND, DECADES / math.log10(range_.high / range_.low))
