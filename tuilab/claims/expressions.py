"""Arithmetic on metrics: of one run, or of the variants of a comparison.

    expression := term [("/" | "-" | "*") term]
    term       := number | ["variants." NAME "."] METRIC ["@" ("start" | "end" | STEP)]

A term's `@` takes precedence over the `at` of the expectation.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.errors import ConfigError, UnknownNameError, require
from tuilab.claims.metrics import WORDS, AtLeast, Metric, MetricSeries, Record, parse_metric

When = str | int
VARIANTS: Final = "variants."
OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "/": np.divide,
    "-": operator.sub,
    "*": operator.mul,
}
_METRIC: Final = re.compile(r"[A-Za-z_](?:[\w.]|\[[^\]]*\]|\([^)]*\))*(?:@-?\w*)?")
_NUMBER: Final = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_GRAMMAR: Final = "write METRIC, or two of them (or one and a number) with one of / - * between"


@dataclass(frozen=True, slots=True)
class Term:
    """A metric of a run, and its moment, if it has its own."""

    metric: Metric
    variant: str = ""  # "": of the one run there is
    at: When | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """One operand, or two and what is done with them."""

    operands: tuple[Term | float, ...]
    operator: str = ""

    @property
    def terms(self) -> list[Term]:
        """The operands that are metrics."""
        return [operand for operand in self.operands if isinstance(operand, Term)]

    def moments(self, at: When) -> set[When]:
        """Return the moments that it is about, where an expectation asks for `at`."""
        return {at if term.at is None else term.at for term in self.terms}

    def check(self, hidden: int, variants: Mapping[str, int]) -> None:
        """Raise ConfigError where it needs layers that the networks do not have.

        `hidden` is the number of hidden layers of the only run, `variants` those of a comparison.
        """
        axes = set()
        for term in self.terms:
            if term.variant and term.variant not in variants:
                raise UnknownNameError("variant", term.variant, variants)
            depth = variants[term.variant] if term.variant else hidden
            term.metric.check_layer(depth)
            axes.add(term.metric.axis(depth))
        words = sorted(axes - {""})
        require(len(words) < 2, "", f"one metric is {', the other '.join(words)}: they do not pair")


def parse_expression(text: str) -> Expression:
    """Return the expression in `text`. Raises ConfigError, UnknownNameError."""
    first, rest = _operand(text.strip(), text)
    if not rest:
        require(isinstance(first, Term), "", f"'{text}' names no metric; {_GRAMMAR}")
        return Expression((first,))
    sign = rest[0]
    if sign not in OPERATORS:
        raise ConfigError(f"cannot read '{rest}' in '{text}'; {_GRAMMAR}")
    second, more = _operand(rest[1:].lstrip(), text)
    require(not more, "", f"cannot read '{more}' in '{text}': there may be only one operator")
    expression = Expression((first, second), sign)
    terms = expression.terms
    require(bool(terms), "", f"'{text}' names no metric; {_GRAMMAR}")
    for term in terms:
        name = term.metric.name
        require(name not in WORDS, "", f"{name} is not a number: it cannot be computed with")
    require(
        len({bool(term.variant) for term in terms}) == 1,
        "",
        f"give the variant of both metrics, got '{text}'",
    )
    return expression


def _operand(text: str, whole: str) -> tuple[Term | float, str]:
    """Take the operand with which `text` begins; return it and what is left."""
    if number := _NUMBER.match(text):
        return float(number[0]), text[number.end() :].lstrip()
    if metric := _METRIC.match(text):
        return _term(metric[0]), text[metric.end() :].lstrip()
    if text != whole.strip():
        raise ConfigError(f"cannot read '{whole}'; {_GRAMMAR}")
    return Term(parse_metric(text)), ""  # which says what there is


def _term(text: str) -> Term:
    name, at, moment = text.partition("@")
    variant = ""
    if name.startswith(VARIANTS):
        variant, _, name = name.removeprefix(VARIANTS).partition(".")
    if not at:
        return Term(parse_metric(name), variant)
    if not moment.isdigit() and moment not in ("start", "end"):
        raise UnknownNameError("moment after @", moment, ["start", "end", "a step"])
    return Term(parse_metric(name), variant, int(moment) if moment.isdigit() else moment)


def evaluate(expression: Expression, at: When, records: Mapping[str, Record]) -> list[Any]:
    """Return the values that `at` is about; [] where one of the terms has none yet.

    `records` are the runs by the name of their variant, "" the one run there is. Where `at` is
    "any" or "always", there is a value for each step at which everything that changes was measured.
    """
    ranged = at in ("any", "always")
    columns: list[Callable[[int], Any]] = []
    steps: set[int] | None = None
    for operand in expression.operands:
        if not isinstance(operand, Term):
            columns.append(_always(operand))
            continue
        if operand.variant not in records:  # it has not been run
            return []
        series = records[operand.variant].series(operand.metric)
        if ranged and operand.at is None and len(series.steps):
            places = {step: place for place, step in enumerate(series.steps)}
            columns.append(_by_step(series, places))
            steps = set(places) if steps is None else steps & set(places)
            continue
        moment = at if operand.at is None else operand.at
        values = series.at("end" if moment in ("any", "always") else moment)
        if not values:
            return []
        columns.append(_always(values[0]))
    return [
        _combined(expression.operator, [column(step) for column in columns])
        for step in (sorted(steps) if steps is not None else [0])
    ]


def _always(value: Any) -> Callable[[int], Any]:
    return lambda step: value


def _by_step(series: MetricSeries, places: Mapping[int, int]) -> Callable[[int], Any]:
    return lambda step: series.value(places[step])


def _combined(sign: str, values: list[Any]) -> Any:
    if not sign:
        return values[0]
    lists = [value for value in values if isinstance(value, list)]
    if not lists:
        return _calculated(sign, *values)
    length = len(lists[0])
    columns = [value if isinstance(value, list) else [value] * length for value in values]
    return [_calculated(sign, *row) for row in zip(*columns, strict=True)]


def _calculated(sign: str, a: float, b: float) -> float:
    if isinstance(a, AtLeast) or isinstance(b, AtLeast):
        return _bounded(sign, a, b)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return float(OPERATORS[sign](np.float64(a), np.float64(b)))


def _bounded(sign: str, a: float, b: float) -> AtLeast:
    """Return what is known where only a lower bound of one of the numbers is known.

    Taken from something, or dividing it, such a number proves nothing.
    """
    if sign == "*" and isinstance(b, AtLeast):
        a, b = b, a
    if isinstance(a, AtLeast) and not isinstance(b, AtLeast) and (sign == "-" or b > 0):
        return AtLeast(float(OPERATORS[sign](a.least, b)))
    return AtLeast(-np.inf)
