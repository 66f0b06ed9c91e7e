"""Studies made up for the view: rows without runs."""

from collections.abc import Sequence

import pytest

from tuilab.scenario.search.pruners import Never
from tuilab.scenario.search.samplers import Random
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Choice, Range, Space
from tuilab.search.results import Row, SearchResult, StageResult
from tuilab.viewer.search.store import Reading

LR = "optimizer.learning_rate"
SPACE = Space({LR: Range(1e-6, 1e-3, logarithmic=True), "network.activation": Choice(
    ("relu", "tanh"))})  # fmt: skip
ROWS = (
    Row(0, "complete", {LR: 1e-5, "network.activation": "relu"}, 0.31, seconds=2.0),
    Row(1, "pruned", {LR: 1e-4, "network.activation": "tanh"}, reason="loss not finite"),
    Row(2, "complete", {LR: 5e-4, "network.activation": "relu"}, 0.44, seconds=1.0),
    Row(3, "pruned", {LR: 2e-4, "network.activation": "tanh"},
        reason="worse than others at epoch 2", reports={1: 0.2, 2: 0.25}),
    Row(4, "failed", {LR: 2e-6, "network.activation": "tanh"}, reason="killed by signal 9"),
    Row(5, "running", {LR: 3e-4, "network.activation": "tanh"}, reports={1: 0.4}),
)  # fmt: skip


def staged(rows: Sequence[Row] = ROWS, name: str = "coarse") -> StageResult:
    stage = Stage(name, 10, {"epochs": 2}, Random(), Never(), 1, SPACE)
    return StageResult(stage, SPACE, rows)


def reading(*stages: StageResult, alive: bool = True) -> Reading:
    found = stages or (staged(),)
    search = Search("accuracy.validation", True, (), 20, tuple(s.stage for s in found))
    edges = {found[-1].stage.name: [f"{LR}: best at 0.0005, the upper edge; try more"]}
    result = SearchResult("small", search, "runs/s", found, edges)
    return Reading(result, {found[-1].stage.name: {LR: 0.75, "network.activation": 0.25}}, alive)


@pytest.fixture
def stage() -> StageResult:
    return staged()
