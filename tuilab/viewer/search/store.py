"""What the view of a search shows: the study as read last, and curves of running trials.

`read` queries the study's database and may take a while, so the app calls it in a thread; `follow`
is cheap. Knows no Textual.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts.plot import Chart, Curve, draw, wants_logarithm
from tuilab.charts.series import Reduced, reduce
from tuilab.charts.text import Line
from tuilab.record.run_folder import RunFolder
from tuilab.search.folder import StudyFolder
from tuilab.search.results import Row, SearchResult, StageResult
from tuilab.search.study_reader import StudyReader
from tuilab.viewer.model.store import RunStore

ROLES: Final = ("activation", "gradient", "update", "warning")
"""Roles of the curves of running trials; further trials share one curve."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A study at one moment."""

    result: SearchResult
    importance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by stage
    alive: bool = False  # a process searches here

    def stage(self, name: str) -> StageResult | None:
        """Return a stage by its name; the newest if there is none of that name."""
        named = [stage for stage in self.result.stages if stage.stage.name == name]
        stages = named or [*self.result.stages]
        return stages[-1] if stages else None


def read(reader: StudyReader) -> Reading:
    """Read the study. Raises SearchError, ScenarioError."""
    result = reader.result()
    shares = {stage.stage.name: reader.importance(stage) for stage in result.stages}
    return Reading(result, shares, reader.folder.is_alive())


class RunningCurves:
    """Follows the training loss of all running trials."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._stores: dict[tuple[str, int], RunStore] = {}

    def follow(self, stages: Sequence[StageResult]) -> None:
        """Read what is new of running trials, and close those that have ended."""
        running = {
            (stage.stage.name, row.number): row
            for stage in stages
            for row in stage.rows
            if row.state == "running" and row.run
        }
        for key in [key for key in self._stores if key not in running]:
            self._stores.pop(key).close()
        for key, row in running.items():
            if key not in self._stores:
                self._stores[key] = RunStore(self.run_of(row), series_only=True)
            self._stores[key].poll()

    def run_of(self, row: Row) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self._folder.path / Path(row.run))  # an absolute path stays as it is

    def chart(self, width: int, height: int) -> list[Line]:
        """Return the curves in one chart, with a legend below."""
        drawn = [(k, s.series) for k, s in self._stores.items() if len(s.series)]
        if not drawn or height < 5:
            return []
        curves, legend = [], []
        alone = drawn if len(drawn) <= len(ROLES) else drawn[: len(ROLES) - 1]
        for (key, series), role in zip(alone, ROLES, strict=False):
            curves.append(Curve(reduce(series.steps, series.values("loss"), width), role))
            legend.append((f"━ {key[1]} ", role))
        rest = [series for _, series in drawn[len(alone) :]]
        if rest:
            parts = [reduce(s.steps, s.values("loss"), max(width // 2, 8)) for s in rest]
            curves.append(Curve(_joined(parts), "muted"))
            legend.append((f"━ {len(rest)} others", "muted"))
        shown = np.concatenate([curve.data.mean for curve in curves])
        lines = draw(Chart(curves, logarithmic=wants_logarithm(shown)), width, height - 1)
        return [*lines, [("trial ", "muted"), *legend]] if lines else []

    def close(self) -> None:
        """Close the databases."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()


def _joined(parts: Sequence[Reduced]) -> Reduced:
    """Return several series as one, with gaps between them."""

    def all_of(name: str, gap: float) -> Floats:
        return np.concatenate([np.append(getattr(part, name), gap) for part in parts])

    x = all_of("x", 0.0)
    return Reduced(x, *(all_of(name, np.nan) for name in ("low", "high", "mean")))
