"""Ranges: their scale, their ends, and what a file may say of them."""

import math

import pytest

from engine.errors import ConfigError
from tuilab.scenario.search.space import Choice, Range, parse_space

RATE = Range(1e-6, 1e-3, logarithmic=True)


def test_a_logarithmic_range_is_even_in_orders_of_magnitude() -> None:
    assert RATE.points(4) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])
    assert RATE.position(1e-4) == pytest.approx(2 / 3)
    assert RATE.at(RATE.position(3e-5)) == pytest.approx(3e-5)


def test_whole_ranges_have_whole_values_without_repetition() -> None:
    assert Range(1, 3, whole=True).points(5) == [1, 2, 3]
    width = Range(10, 1000, logarithmic=True, whole=True)
    assert width.points(3) == [10, 100, 1000]
    assert all(isinstance(value, int) for value in width.points(7))


def test_a_part_of_a_range_is_rounded_outwards_and_stays_inside() -> None:
    part = RATE.within(0.3, 0.7)
    assert (part.low, part.high) == (7.9e-6, 1.3e-4)
    assert RATE.within(0.0, 1.0) == RATE


def test_a_range_is_extended_beyond_its_ends() -> None:
    assert RATE.within(0, 4 / 3).high == pytest.approx(1e-2)
    assert RATE.within(-1 / 3, 1).low == pytest.approx(1e-7)


@pytest.mark.parametrize(
    ("key", "given", "kind"),
    [
        ("optimizer.learning_rate", [1e-5, 1e-1], "log"),
        ("network.initializer.std", [0.001, 1.0], "log"),
        ("optimizer.momentum", [0.5, 0.9], "uniform"),
        ("network.hidden.depth", [1, 4], "int"),
        ("optimizer.weight_decay", [0.0, 0.1], "uniform"),  # no logarithm of zero
    ],
)
def test_factors_are_searched_in_log_space_if_nothing_is_said(
    key: str, given: list[float], kind: str
) -> None:
    found = parse_space({key: given}, "search.space")[key]
    assert isinstance(found, Range)
    assert found.kind == kind


def test_a_space_reads_back_as_it_was_written() -> None:
    space = parse_space(
        {
            "optimizer": {"learning_rate": {"log": [1e-4, 1e-1]}},  # as a table
            "network.hidden.depth": {"int": [1, 5]},
            "network.initializer": {"choice": ["he", {"name": "normal", "std": 0.01}]},
        },
        "search.space",
    )
    assert [*space] == ["optimizer.learning_rate", "network.hidden.depth", "network.initializer"]
    assert parse_space(space.table, "again").table == space.table
    point = {
        "optimizer.learning_rate": 0.01,
        "network.hidden.depth": 2,
        "network.initializer": {"name": "normal", "std": 0.01},
    }
    encoded = space.encoded(point)
    assert encoded["network.initializer"] == '{"name": "normal", "std": 0.01}'
    assert space.decoded(encoded) == point
    assert isinstance(space["network.initializer"], Choice)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a.b": {"log": [0.0, 1.0]}}, "above 0"),
        ({"a.b": {}, "c": [1, 2]}, "expected one of log, uniform"),
        ({"a": {"b": {}}}, "expected one of log, uniform"),
        ({"a.b": {"log": [2.0, 1.0]}}, "low must not exceed high"),
        ({"a.b": {"log": [1.0]}}, r"a range must be \[low, high\]"),
        ({"a.b": {"log": [1.0, math.inf]}}, r"a range must be \[low, high\]"),
        ({"a.b": {"int": [1.5, 3]}}, "must be integers"),
        ({"a.b": {"choice": []}}, "a list of distinct values"),
        ({"a.b": {"choice": ["x", "x"]}}, "a list of distinct values"),
        ({"a.b": {"logg": 3}}, "did you mean 'log'"),
        ({"a.b": 3}, "expected one of log"),
    ],
)
def test_what_is_no_range_is_refused_at_its_key(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_space(table, "search.space")
    assert error.value.path == "search.space.a.b"
