"""The table and the pictures of a search, as text."""

import pytest

from tests.tuilab.viewer.search.conftest import LR, ROWS, SPACE, reading, staged
from tuilab.charts.text import Line, plain, width
from tuilab.search.results import Row, StageResult
from tuilab.viewer.search.charts import importance, parallel, scatter
from tuilab.viewer.search.header import header
from tuilab.viewer.search.table import Order, columns, entries, table


def drawn(stage: StageResult, cells: int = 84, cursor: int = 0, height: int = 10) -> list[Line]:
    shown = entries(stage, Order(), maximize=True)
    return table(stage, shown, "val_acc", Order(), cursor, (cells, height))


def numbers(stage: StageResult, order: Order) -> list[int]:
    return [entry.row.number for entry in entries(stage, order, maximize=True)]


def test_the_table_has_the_best_first_and_says_why_others_ended(stage: StageResult) -> None:
    assert [plain(line).rstrip() for line in drawn(stage, 87)] == [
        "  rank↑ trial    val_acc          lr  activation seconds",
        "✓     1     2     0.4400   5.000e-04        relu     1.0",
        "✓     2     0     0.3100   1.000e-05        relu     2.0",
        "▶           5   (0.4000)   3.000e-04        tanh",
        "⊘           1              1.000e-04        tanh          loss not finite",
        "✂           3   (0.2500)   2.000e-04        tanh          worse than others at epoch 2",
        "✕           4              2.000e-06        tanh          killed by signal 9",
    ]


def test_the_best_stands_out_and_the_broken_are_marked(stage: StageResult) -> None:
    roles = [{role for _, role in line} for line in drawn(stage, cursor=2)[1:]]
    assert "success.bold" in roles[0]
    assert "key.tag" in roles[2]  # the cursor
    assert "error.dim" in roles[3]
    assert "error" in roles[5]


@pytest.mark.parametrize("cells", [30, 46, 60, 100])
def test_lines_fill_their_width_and_no_number_loses_its_exponent(
    stage: StageResult, cells: int
) -> None:
    lines = drawn(stage, cells)
    assert {width(line) for line in lines[1:]} == {cells}
    if cells >= 46:
        assert "5.0e-04" in plain(lines[1]) or "5.000e-04" in plain(lines[1])


@pytest.mark.parametrize(
    ("order", "first"),
    [
        (Order(0), [2, 0]),
        (Order(1), [0, 1, 2, 3, 4, 5]),
        (Order(1, reverse=True), [5, 4, 3, 2, 1, 0]),
        (Order(2), [3, 0, 5, 2]),  # by the objective, as it stood last
        (Order(3), [4, 0, 1, 3, 5, 2]),
        (Order(4), [0, 2, 1, 3, 4, 5]),  # words
        (Order(5), [2, 0]),
    ],
)
def test_it_sorts_by_every_column(stage: StageResult, order: Order, first: list[int]) -> None:
    found = numbers(stage, order)
    assert found[: len(first)] == first
    assert sorted(found) == [row.number for row in ROWS]


def test_a_thousand_trials_are_drawn_around_the_cursor() -> None:
    rows = [Row(n, "complete", {LR: 1e-5, "network.activation": "relu"}, n / 1000)
            for n in range(1000)]  # fmt: skip
    lines = drawn(staged(rows), cursor=500, height=12)
    assert len(lines) == 12
    assert any(plain(line).split()[1] == "501" for line in lines[1:])
    last = drawn(staged(rows), cursor=999, height=12)
    assert plain(last[-1]).split()[1] == "1000"


def test_the_scatter_has_the_range_from_edge_to_edge(stage: StageResult) -> None:
    lines = scatter(stage, LR, ROWS[0], (60, 12), maximize=True, warned=True)
    text = [plain(line) for line in lines]
    assert "★" in "".join(text)  # the best
    assert "◉" in "".join(text)  # the one under the cursor
    assert "×" in "".join(text)  # pruned, where it stood
    assert text[-2].strip().startswith("┣")
    assert text[-2].rstrip().endswith("┫")
    assert "1e-06" in text[-1]
    assert "0.001" in text[-1]
    assert "1e-4" in text[-1]
    assert lines[-1][0][1] == "warning"


def test_a_choice_has_an_axis_too(stage: StageResult) -> None:
    lines = scatter(stage, "network.activation", None, (60, 12), maximize=True, warned=False)
    assert "relu" in plain(lines[-1])
    assert "tanh" in plain(lines[-1])


def test_parallel_axes_name_each_parameter_and_its_ends(stage: StageResult) -> None:
    lines = parallel(stage, "val_acc", ROWS[0], (60, 12), maximize=True)
    assert plain(lines[-1]).split() == ["lr", "activation", "val_acc"]
    assert plain(lines[0]).split() == ["0.001", "tanh", "0.4400"]
    assert plain(lines[-2]).split() == ["1e-06", "relu", "0.3100"]
    assert {"success", "warning"} <= {role for line in lines for _, role in line}


@pytest.mark.parametrize("size", [(1, 1), (11, 4), (30, 3)])
def test_nothing_is_drawn_without_room(stage: StageResult, size: tuple[int, int]) -> None:
    assert scatter(stage, LR, None, size, maximize=True, warned=False) == [] or size[0] >= 12
    assert parallel(stage, "val_acc", None, size, maximize=True) == []


def test_importance_is_a_bar_a_parameter() -> None:
    lines = importance({"network.activation": 0.25, LR: 0.75}, 31)
    assert [plain(line) for line in lines] == [
        "lr         ━━━━━━━━━━╌╌╌╌  75% ",
        "activation ━━━━╌╌╌╌╌╌╌╌╌╌  25% ",
    ]
    assert "waiting for more trials" in plain(importance({}, 30)[0])


def test_the_header_says_how_it_stands() -> None:
    first, second, third = (plain(line) for line in header(reading(), staged(), "A title", 140))
    assert first.split("   ")[0].strip() == "small"
    assert "highest accuracy.validation" in first
    assert "▶ searching" in second
    assert "5/10" in second
    assert "1 running" in second
    assert "best val_acc 0.4400 (coarse 2)" in second
    assert third.startswith(f" ▲ {LR}: best at")
    assert columns(staged(), "val_acc") == ["rank", "trial", "val_acc", "lr", "activation",
                                            "seconds"]  # fmt: skip
    assert [*SPACE] == [LR, "network.activation"]


def test_before_the_first_trial_it_says_so() -> None:
    lines = header(reading(staged(())), None, "A title", 100)
    assert "waiting for the first trial" in plain(lines[1])
