"""The results of a search: rows, ranks, JSON and CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tuilab.charts.symbols import NOT_FINITE, TRIAL_STATES
from tuilab.claims.summary import to_json
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Point, Space

SHORT: Final = {
    "accuracy.validation": "val_acc",
    "accuracy.train": "train_acc",
    "learning_rate": "lr",
    "weight_decay": "reg",
}
"""Short names of columns, as in the lecture."""
ENDED: Final = ("complete", "pruned", "failed", "lost")


@dataclass(frozen=True, slots=True)
class Row:
    """One trial as recorded in the study."""

    number: int
    state: str  # running | waiting | complete | pruned | failed | lost
    point: Point
    value: float | None = None  # of the objective, if complete
    reason: str = ""  # why it was stopped early, or failed
    run: str = ""  # its run folder, relative to the search folder if inside it
    host: str = ""
    seconds: float | None = None
    steps: int = 0
    reports: Mapping[int, float] = field(default_factory=dict)  # epoch → objective
    retry_of: int | None = None

    @property
    def mark(self) -> str:
        """One character for its state."""
        if self.reason == "loss not finite":
            return NOT_FINITE.glyph
        return TRIAL_STATES.get(self.state, "·")


@dataclass(frozen=True, slots=True)
class StageResult:
    """The trials of a stage, by number."""

    stage: Stage
    space: Space
    rows: Sequence[Row]

    def ranked(self, *, maximize: bool) -> list[Row]:
        """Return the complete trials, best first, ties by number."""
        done = [row for row in self.rows if row.value is not None]
        sign = -1 if maximize else 1
        return sorted(done, key=lambda row: (sign * (row.value or 0.0), row.number))

    def count(self, state: str) -> int:
        """Return the number of trials in a state."""
        return sum(row.state == state for row in self.rows)

    @property
    def columns(self) -> dict[str, str]:
        """The heading of each parameter, short if that is unambiguous."""
        return headings(self.space)


@dataclass(frozen=True, slots=True)
class RankedTrial:
    """A trial with its stage."""

    stage: StageResult
    row: Row


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All stages of a search, in order."""

    scenario: str
    search: Search
    folder: str
    stages: Sequence[StageResult]
    edges: Mapping[str, Sequence[str]] = field(default_factory=dict)  # warnings by stage
    interrupted: bool = False

    @property
    def best(self) -> RankedTrial | None:
        """The best trial of all stages."""
        candidates = [
            RankedTrial(stage, ranked[0])
            for stage in self.stages
            if (ranked := stage.ranked(maximize=self.search.maximize))
        ]
        if not candidates:
            return None
        values = [trial.row.value or 0.0 for trial in candidates]
        return candidates[values.index((max if self.search.maximize else min)(values))]

    def document(self) -> str:
        """Return the results as a JSON document; NaN and infinities are strings."""
        best = self.best
        return to_json(
            {
                "scenario": self.scenario,
                "folder": self.folder,
                "objective": self.search.objective,
                "direction": "maximize" if self.search.maximize else "minimize",
                "interrupted": self.interrupted,
                "best": None if best is None else self._row(best.stage, best.row),
                "stages": [
                    {
                        "name": stage.stage.name,
                        "train": dict(stage.stage.train),
                        "space": stage.space.table,
                        "edges": [*self.edges.get(stage.stage.name, ())],
                        "trials": [self._row(stage, row) for row in stage.rows],
                    }
                    for stage in self.stages
                ],
            }
        )

    def _row(self, stage: StageResult, row: Row) -> dict[str, Any]:
        ranked = stage.ranked(maximize=self.search.maximize)
        ranks = {trial.number: rank for rank, trial in enumerate(ranked, start=1)}
        return {
            "stage": stage.stage.name,
            "number": row.number,
            "rank": ranks.get(row.number),
            "state": row.state,
            "value": row.value,
            "parameters": row.point,
            "reason": row.reason,
            "seconds": row.seconds,
            "steps": row.steps,
            "run": row.run,
            "host": row.host,
            "retry_of": row.retry_of,
        }

    def csv(self) -> str:
        """Return a line per trial as CSV; parameters are columns with their key as heading."""
        keys = list(dict.fromkeys(key for stage in self.stages for key in stage.space))
        columns = ("stage", "number", "rank", "state", "value")
        after = ("reason", "seconds", "steps", "run", "host")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*columns, *keys, *after])
        for stage in self.stages:
            for row in stage.rows:
                fields = self._row(stage, row)
                values = [_cell(row.point.get(key)) for key in keys]
                writer.writerow(
                    [
                        *(_cell(fields[name]) for name in columns),
                        *values,
                        *(_cell(fields[name]) for name in after),
                    ]
                )
        return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else value


def headings(keys: Sequence[str] | Space) -> dict[str, str]:
    """Return the heading of each key: its last part or the lecture's short name, if unique.

    The heading of `optimizer.name` is "optimizer".
    """
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    counts = [*last.values()]
    return {
        key: SHORT.get(word, word) if counts.count(word) == 1 else key for key, word in last.items()
    }


def objective_heading(search: Search) -> str:
    """Return the heading of the objective."""
    return SHORT.get(search.objective, search.objective)


def value_text(value: Any) -> str:
    """Return a value of a parameter or an objective for a table."""
    if value is None:
        return "—"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value.get("name", value)) if isinstance(value, dict) else str(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.3e}"
