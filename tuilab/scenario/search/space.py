"""The space of a search: a range or a choice for each key.

    "optimizer.learning_rate" = { log = [1e-6, 1e-3] }
    "optimizer.momentum" = { uniform = [0.5, 0.99] }
    "network.hidden.depth" = { int = [1, 5] }
    "network.hidden.width" = { int_log = [10, 1000] }
    "network.activation" = { choice = ["relu", "tanh"] }

A bare `[low, high]` is logarithmic for parameters that act as a factor (the lecture: "optimize in
log space"), `int` for two integers, and uniform otherwise.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from engine.errors import ConfigError, UnknownNameError, require
from tuilab.toml_structs import join, shown

KINDS: Final = {"log": (True, False), "uniform": (False, False),
                "int": (False, True), "int_log": (True, True)}  # fmt: skip
"""Kinds of ranges: (logarithmic, integers only)."""
CHOICE: Final = "choice"
SCALES: Final = ("learning_rate", "weight_decay", "l1", "std", "epsilon", "scale", "factor")
"""Last parts of keys whose value is a factor, so that its order of magnitude matters."""
DIGITS: Final = 2  # significant digits of a proposed bound


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    logarithmic: bool = False
    whole: bool = False

    @property
    def kind(self) -> str:
        """Its name in a scenario file."""
        return next(name for name, of in KINDS.items() if of == (self.logarithmic, self.whole))

    @property
    def table(self) -> dict[str, Any]:
        """The range as written in a scenario file."""
        return {self.kind: [self._typed(self.low), self._typed(self.high)]}

    @property
    def text(self) -> str:
        """The range for people: "1e-06 … 0.001 log"."""
        return f"{self.low:g} … {self.high:g}{' log' if self.logarithmic else ''}"

    def position(self, value: float) -> float:
        """Return where `value` lies on the range's scale: 0 at `low`, 1 at `high`."""
        low, high, at = (self._scaled(number) for number in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def at(self, position: float) -> float:
        """Return the value at a position, which may lie outside 0 … 1."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + position * (high - low)
        value = float(np.exp(value)) if self.logarithmic else value
        return float(value) if not self.whole else round(value)

    def points(self, number: int) -> list[Any]:
        """Return evenly spaced values including both ends; fewer where integers coincide."""
        places = np.linspace(0, 1, number) if number > 1 else np.array([0.5])
        inner = [self.at(float(place)) for place in places[1:-1]]
        ends = [self._typed(self.low), *inner, self._typed(self.high)]
        return list(dict.fromkeys(ends if number > 1 else [self.at(0.5)]))

    def within(self, low: float, high: float) -> "Range":
        """Return the part between two positions, its ends rounded outwards to DIGITS digits."""
        begin, end = _rounded(self.at(low), up=False), _rounded(self.at(high), up=True)
        begin = self.low if low >= 0 and begin < self.low else begin
        end = self.high if high <= 1 and end > self.high else end
        return replace(self, low=begin, high=end)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value

    def _typed(self, value: float) -> Any:
        return int(value) if self.whole else float(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values: words, numbers or tables, e.g. `{ name = "normal", std = 0.01 }`."""

    values: tuple[Any, ...]

    @property
    def table(self) -> dict[str, Any]:
        """The choice as written in a scenario file."""
        return {CHOICE: [*self.values]}

    @property
    def text(self) -> str:
        """The choice for people."""
        return ", ".join(map(str, self.labels))

    @property
    def labels(self) -> list[Any]:
        """The values as Optuna stores them: tables become JSON."""
        return [json.dumps(v) if isinstance(v, dict | list) else v for v in self.values]

    def points(self, number: int) -> list[Any]:
        """Return all values, regardless of `number`."""
        return [*self.values]


Parameter = Range | Choice
Point = dict[str, Any]
"""A value for each key of the space."""


class Space(Mapping[str, Parameter]):
    """The parameters that are searched, by their key in the scenario."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = dict(parameters)

    def __getitem__(self, key: str) -> Parameter:
        return self._parameters[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    @property
    def table(self) -> dict[str, Any]:
        """The space as written in a scenario file."""
        return {key: parameter.table for key, parameter in self.items()}

    def changed(self, other: Mapping[str, Parameter]) -> "Space":
        """Return the space with some of its parameters replaced."""
        return Space(self._parameters | dict(other))

    def encoded(self, point: Point) -> Point:
        """Return a point as Optuna stores it."""
        return {key: _encoded(self[key], value) for key, value in point.items()}

    def decoded(self, params: Mapping[str, Any]) -> Point:
        """Return the point that Optuna stored as `params`."""
        return {key: _decoded(self[key], params[key]) for key in self if key in params}


def _encoded(parameter: Parameter, value: Any) -> Any:
    if isinstance(parameter, Range):
        return value
    return parameter.labels[parameter.values.index(value)]


def _decoded(parameter: Parameter, value: Any) -> Any:
    if isinstance(parameter, Range):
        return value
    return parameter.values[parameter.labels.index(value)]


def parse_space(table: Any, path: str) -> Space:
    """Return the space of a table; keys may be quoted or nested. Raises ConfigError."""
    require(isinstance(table, dict), path, f"must be a table, is {shown(table)}")
    return Space(dict(_flattened(table, "", path)))


def _flattened(table: Mapping[str, Any], key: str, path: str) -> Iterator[tuple[str, Parameter]]:
    for name, value in table.items():
        inner, where = join(key, name), join(path, name)
        if isinstance(value, dict) and value and not {*value} & {*KINDS, CHOICE}:
            if not any(isinstance(inner, dict | list) for inner in value.values()):
                raise UnknownNameError("kind of range", next(iter(value)), [*KINDS, CHOICE], where)
            yield from _flattened(value, inner, where)
        else:
            yield inner, _parameter(inner, value, where)


def _parameter(key: str, value: Any, path: str) -> Parameter:
    if isinstance(value, list):
        return _range(value, _default(key, value), path)
    if not isinstance(value, dict) or len(value) != 1:
        raise ConfigError(
            f"expected one of {', '.join(KINDS)} with [low, high], or choice with a list; "
            f"got {shown(value)}",
            path,
        )
    (kind, given), *_ = value.items()
    if kind == CHOICE:
        require(
            isinstance(given, list) and bool(given) and _distinct(given),
            path,
            f"a choice must be a list of distinct values, got {shown(given)}",
        )
        return Choice(tuple(given))
    return _range(given, kind, path)


def _default(key: str, ends: Sequence[Any]) -> str:
    scale = key.rpartition(".")[2] in SCALES
    if all(isinstance(end, int) for end in ends):
        return "int"
    positive = all(isinstance(end, int | float) and end > 0 for end in ends)
    return "log" if scale and positive else "uniform"


def _range(given: Any, kind: str, path: str) -> Range:
    logarithmic, whole = KINDS[kind]
    numbers = isinstance(given, list) and all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
        for end in given
    )
    require(numbers and len(given) == 2, path, f"a range must be [low, high], got {shown(given)}")
    low, high = given
    require(low <= high, path, f"low must not exceed high, got {low:g} and {high:g}")
    require(not logarithmic or low > 0, path, f"a logarithmic range must be above 0, got {low:g}")
    whole_ends = low == int(low) and high == int(high)
    require(not whole or whole_ends, path, f"the ends must be integers, got {shown(given)}")
    return Range(low, high, logarithmic, whole)


def _distinct(values: Sequence[Any]) -> bool:
    return all(value not in values[:at] for at, value in enumerate(values))


def _rounded(value: float, *, up: bool) -> float:
    """Return `value` rounded up or down to DIGITS significant digits."""
    if value == 0 or isinstance(value, int):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    count = value / unit
    near = round(
        count
    )  # a value that already has DIGITS digits must not change through binary rounding
    whole = near if math.isclose(count, near) else (math.ceil if up else math.floor)(count)
    return float(f"{whole * unit:.{DIGITS - 1}e}")
