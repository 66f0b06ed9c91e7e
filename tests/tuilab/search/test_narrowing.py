"""The next range, and the warning of the lecture: a best value at the edge of its range."""

import pytest

from tuilab.scenario.search.pruners import Never
from tuilab.scenario.search.samplers import Random
from tuilab.scenario.search.settings import Stage
from tuilab.scenario.search.space import Choice, Parameter, Range, Space
from tuilab.search.narrowing import Edge, edges, narrowed
from tuilab.search.results import Row, StageResult

LR = "optimizer.learning_rate"
LECTURE = Range(1e-6, 1e-3, logarithmic=True)


def result(parameter: Parameter, values: list[object], keep: int = 3) -> StageResult:
    """A stage whose trials are better the earlier they come."""
    space = Space({LR: parameter})
    stage = Stage("coarse", len(values), {}, Random(), Never(), keep, space)
    rows = [Row(n, "complete", {LR: v}, value=1.0 - n / 100) for n, v in enumerate(values)]
    return StageResult(stage, space, rows)


def found(values: list[object], *, allowed: bool = True) -> list[Edge]:
    return edges(result(LECTURE, values), maximize=True, allowed=lambda key, value: allowed)


def test_the_edge_of_the_lectures_coarse_range_is_seen_and_a_wider_one_proposed() -> None:
    (edge,) = found([9e-4, 7e-4, 5e-4, 1e-6, 1e-6])
    assert edge.upper
    assert edge.wider == Range(1e-6, 1e-2, logarithmic=True)
    assert "best at 0.0009, the upper edge of 1e-06 … 0.001" in edge.text
    assert "try 1e-06 … 0.01" in edge.text


def test_the_lower_edge_too() -> None:
    (edge,) = found([1.1e-6, 1.5e-6, 3e-6])
    assert not edge.upper
    assert edge.wider == Range(1e-7, 1e-3, logarithmic=True)


@pytest.mark.parametrize(
    "values",
    [
        [3e-5, 9e-4, 9e-4],  # the best one lies inside
        [9e-4, 2e-6, 2e-5],  # the best one alone: chance
        [],
    ],
)
def test_no_edge_without_the_best_and_most_of_the_good_ones_there(values: list[object]) -> None:
    assert found(values) == []


def test_beyond_what_the_scenario_allows_nothing_is_proposed() -> None:
    (edge,) = found([9e-4, 7e-4, 5e-4], allowed=False)
    assert edge.wider is None
    assert "allows no values" in edge.text


def test_the_next_range_lies_around_the_best() -> None:
    space = narrowed(result(LECTURE, [1e-4, 2e-4, 3e-4, 1e-6, 9e-4]), maximize=True)
    found = space[LR]
    assert isinstance(found, Range)
    assert 3e-5 < found.low < 1e-4
    assert 3e-4 < found.high < 1e-3


def test_it_is_that_of_the_worst_where_low_is_good() -> None:
    space = narrowed(result(LECTURE, [1e-4, 2e-4, 3e-4, 2e-6, 1e-6, 3e-6]), maximize=False)
    found = space[LR]
    assert isinstance(found, Range)
    assert found.low == 1e-6
    assert found.high < 1e-5


def test_one_lucky_trial_leaves_some_room() -> None:
    found = narrowed(result(LECTURE, [3e-5], keep=1), maximize=True)[LR]
    assert isinstance(found, Range)
    assert LECTURE.position(found.high) - LECTURE.position(found.low) >= 0.15


def test_without_a_complete_trial_it_stays() -> None:
    assert narrowed(result(LECTURE, []), maximize=True)[LR] == LECTURE


def test_with_extend_it_goes_beyond_the_edge() -> None:
    stage = result(LECTURE, [9e-4, 7e-4, 5e-4])
    taken = edges(stage, maximize=True, allowed=lambda key, value: True)
    found = narrowed(stage, maximize=True, extended=taken)[LR]
    assert isinstance(found, Range)
    assert found.high == 1e-2
    assert found.low > 1e-4


def test_a_choice_keeps_what_was_among_the_best() -> None:
    choice = Choice(("relu", "tanh", "sigmoid"))
    stage = result(choice, ["tanh", "relu", "tanh", "sigmoid"])
    assert narrowed(stage, maximize=True)[LR] == Choice(("relu", "tanh"))
