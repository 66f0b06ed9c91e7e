"""What a search says of its trials, and its sums."""

import csv
import io
import json

from tuilab.scenario.search.pruners import Never
from tuilab.scenario.search.samplers import Random
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Choice, Range, Space
from tuilab.search.report import incomplete, summary, trial_line
from tuilab.search.results import Row, SearchResult, StageResult, headings, value_text

LR = "optimizer.learning_rate"
SPACE = Space({LR: Range(1e-6, 1e-3, logarithmic=True),
               "network.initializer": Choice(("he", {"name": "normal", "std": 0.01}))})  # fmt: skip
NORMAL = {"name": "normal", "std": 0.01}
ROWS = [
    Row(0, "complete", {LR: 1e-4, "network.initializer": "he"}, 0.3, seconds=1.5, run="trials/a-0"),
    Row(1, "pruned", {LR: 2e-4, "network.initializer": NORMAL},
        reason="worse than others at epoch 3"),
    Row(2, "complete", {LR: 3e-4, "network.initializer": NORMAL}, 0.5, run="trials/a-2"),
    Row(3, "pruned", {LR: 2e-4, "network.initializer": "he"},
        reason="worse than others at epoch 9"),
    Row(4, "lost", {LR: 3e-5, "network.initializer": "he"}, reason="interrupted"),
    Row(5, "complete", {LR: 3e-5, "network.initializer": "he"}, 0.5, retry_of=4),
]  # fmt: skip


def found(*, maximize: bool = True) -> SearchResult:
    stage = Stage("coarse", 5, {"epochs": 5}, Random(), Never(), None, SPACE)
    search = Search("accuracy.validation", maximize, (), 20, (stage,))
    return SearchResult("small", search, "runs/s", [StageResult(stage, SPACE, ROWS)])


def test_the_best_is_the_highest_or_the_lowest_and_the_earlier_of_equals() -> None:
    best = found().best
    assert best is not None
    assert best.row.number == 2
    worst = found(maximize=False).best
    assert worst is not None
    assert worst.row.number == 0


def test_the_table_is_the_lectures() -> None:
    text = summary(found())
    assert "coarse (3 of 5 trials complete, 2 stopped early (worse than others), 1 lost)" in text
    head, first, second, third = text.splitlines()[1:5]
    assert head.split() == ["rank", "val_acc", "lr", "initializer", "seconds", "trial"]
    assert first.split() == ["1", "0.5000", "3.000e-04", "normal", "2"]
    assert second.split()[:2] == ["2", "0.5000"]
    assert third.split() == ["3", "0.3000", "1.000e-04", "he", "1.5", "0"]
    assert "tuilab replay runs/s/trials/a-2" in text


def test_a_trial_is_the_lectures_line() -> None:
    result = found()
    line = trial_line(result.stages[0], ROWS[2], result.search)
    assert line == (
        "✓ coarse 2  val_acc: 0.5000, lr: 3.000e-04, initializer: normal (5 / 5) ← best so far"
    )
    assert "worse than others at epoch 3" in trial_line(result.stages[0], ROWS[1], result.search)


def test_others_are_counted_by_reason() -> None:
    assert incomplete(ROWS) == {"stopped early (worse than others)": 2, "lost": 1}


def test_json_and_csv_hold_every_trial() -> None:
    document = json.loads(found().document())
    (stage,) = document["stages"]
    assert [trial["rank"] for trial in stage["trials"]] == [3, None, 1, None, None, 2]
    assert document["best"]["parameters"] == {LR: 3e-4, "network.initializer": NORMAL}
    assert stage["space"]["network.initializer"] == {"choice": ["he", NORMAL]}
    rows = list(csv.DictReader(io.StringIO(found().csv())))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert json.loads(rows[2]["network.initializer"]) == NORMAL


def test_headings_are_short_where_that_tells_them_apart() -> None:
    assert headings(["optimizer.learning_rate", "optimizer.name"]) == {
        "optimizer.learning_rate": "lr",
        "optimizer.name": "optimizer",
    }
    keys = ["layer[0].units", "layer[1].units"]
    assert headings(keys) == {key: key for key in keys}


def test_values_are_short() -> None:
    assert [value_text(v) for v in (0.5, 1e-5, 7, None, True, NORMAL, [5, 6], float("inf"))] == [
        "0.5000", "1.000e-05", "7", "—", "True", "normal", "[5, 6]", "inf"]  # fmt: skip
