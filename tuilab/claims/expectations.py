"""`[[expect]]`: a claim about a metric of a run, with a band, and the verdict on it.

Metrics are read from the run's database, so a finished run can be judged again at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from engine.errors import ConfigError, UnknownNameError, require
from engine.states import RunState
from tuilab.claims.expressions import Expression, evaluate, parse_expression
from tuilab.claims.metrics import AtLeast, Record
from tuilab.diagnosis.base import rules
from tuilab.record import RunReader
from tuilab.toml_structs import Table, convert, join

At = Literal["start", "end", "any", "always"] | Annotated[int, Meta(ge=0)]
BOUNDS: Final = ("between", "below", "above", "equals", "contains", "lacks")
STATUSES: Final = (RunState.FINISHED, RunState.DIVERGED, RunState.STOPPED)


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One [[expect]] table; exactly one of the bounds is given."""

    metric: str  # a metric, or an expression over metrics
    claim: str = ""  # what is claimed, in words
    at: At = "end"  # when it must hold
    between: tuple[float, float] | None = None  # the lowest and the highest value allowed
    below: float | None = None  # a value that it must be below
    above: float | None = None  # a value that it must be above
    equals: float | str | None = None  # the exact value
    contains: str | None = None  # a part of the status, or a rule that must report a finding
    lacks: str | None = None  # a rule that must not report anything

    @classmethod
    def parse(
        cls, table: Table, path: str, hidden: int, variants: Mapping[str, int] | None = None
    ) -> "Expectation":
        """Validate a table at `path`. Raises ConfigError.

        `hidden` is the number of hidden layers, `variants` that of each variant of a comparison.
        """
        expectation: Expectation = convert(table, cls, path)
        given = [name for name in BOUNDS if name in table]
        require(len(given) == 1, path, f"give exactly one of {', '.join(BOUNDS)}, got {len(given)}")
        try:
            expression = expectation.expression
            expression.check(hidden, variants or {})
        except ConfigError as error:
            raise error.under(path, "metric") from None
        expectation._check_bound(expression, join(path, expectation.bound))
        return expectation

    @property
    def expression(self) -> Expression:
        """What is measured. Raises ConfigError where `metric` cannot be read."""
        return parse_expression(self.metric)

    def steps(self, variant: str = "") -> set[int]:
        """Return the steps whose statistics it needs, of a run by its variant."""
        terms = [term for term in self.expression.terms if term.variant == variant]
        moments = [self.at if term.at is None else term.at for term in terms]
        return {moment for moment in moments if isinstance(moment, int)}

    def _check_bound(self, expression: Expression, path: str) -> None:
        """Raise ConfigError unless the bound fits what the metric measures."""
        value = getattr(self, self.bound)
        if expression.terms[0].metric.name == "status":
            require(
                self.bound in ("equals", "contains"), path, 'status is a word: use equals = "…"'
            )
            if self.bound == "equals" and value not in STATUSES:
                raise UnknownNameError("status", value, STATUSES, path)
            return
        if expression.terms[0].metric.name == "findings":
            texts = self.bound in ("contains", "lacks")
            require(texts, path, 'findings are rules: use contains = "…" or lacks = "…"')
            if value not in rules:
                raise UnknownNameError("rule", value, rules, path)
            return
        texts = self.bound in ("contains", "lacks")
        require(not texts, path, f"{self.metric} is a number, not a text")
        if self.bound in ("between", "below", "above"):
            require(not np.isnan(value).any(), path, "must not be nan: nothing compares with it")
        if self.bound == "between":
            low, high = value
            require(
                low <= high, path, f"the first must not be the larger, got {low:g} and {high:g}"
            )
        elif isinstance(value, str):
            names = ("nan", "inf", "-inf")
            require(
                value in names, path, f"{self.metric} is a number, or one of {', '.join(names)}"
            )

    @property
    def bound(self) -> str:
        """Name of the bound that is given."""
        return next(name for name in BOUNDS if getattr(self, name) is not None)

    @property
    def band(self) -> str:
        """The bound in words: "0.64 … 0.77", "< 0.05"."""
        value = getattr(self, self.bound)
        if self.bound == "between":
            return f"{value[0]:g} … {value[1]:g}"
        sign = {"below": "<", "above": ">", "equals": "=", "contains": "has", "lacks": "has no"}[
            self.bound
        ]
        return f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}"

    def holds(self, value: Any) -> bool:
        """Return whether one measured value satisfies the bound; NaN satisfies only `equals`."""
        if isinstance(value, AtLeast):  # a run that was too short proves nothing
            return self.above is not None and value.least >= self.above
        match self.bound:
            case "between":
                low, high = self.between or (0.0, 0.0)
                return bool(low <= value <= high)
            case "below":
                return bool(value < self.below)
            case "above":
                return bool(value > self.above)
            case "contains":
                return self.contains in value
            case "lacks":
                return self.lacks not in value
        return str(value) == str(self.equals) or value == self.equals


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured, and whether it lies in the band; `passed` None: not known yet."""

    claim: str
    metric: str
    at: str | int
    measured: Any  # a number, a list of them (one a layer), a word, a tuple of rules, or None
    band: str
    passed: bool | None
    bound: str
    limit: Any

    @property
    def measured_text(self) -> str:
        """The measured value for a table: lists as their range."""
        value = self.measured
        if isinstance(value, tuple):
            return _names(value, self.limit)
        return _range(value) if isinstance(value, list) else _number(value)


def _names(rules: Sequence[str], expected: Any) -> str:
    """Return the expected name, or else the first, and how many more there are."""
    if not rules:
        return "none"
    first = expected if expected in rules else rules[0]
    return first if len(rules) == 1 else f"{first} and {len(rules) - 1} more"


def _range(values: Sequence[Any]) -> str:
    """Return the smallest and the largest of some values, and what else there is among them."""
    numbers = [v for v in values if isinstance(v, float) and v == v]
    ends = [_number(end) for end in (min(numbers), max(numbers))] if numbers else []
    others = [_number(v) for v in values if not isinstance(v, float) or v != v]
    words = [" … ".join(dict.fromkeys(ends)), *dict.fromkeys(others)]
    return ", ".join(word for word in words if word) or "—"


def _number(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, AtLeast):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def judge(
    expectations: Sequence[Expectation], runs: RunReader | Record | Mapping[str, Record]
) -> list[Verdict]:
    """Judge a run, or the variants of a comparison by name.

    While one is live, or was stopped early, what could still change is left open.
    """
    if isinstance(runs, RunReader):
        runs = Record(runs)
    records = {"": runs} if isinstance(runs, Record) else runs
    return [_verdict(expectation, records) for expectation in expectations]


def _verdict(expectation: Expectation, records: Mapping[str, Record]) -> Verdict:
    expression, at = expectation.expression, expectation.at
    values = evaluate(expression, at, records)
    measured: Any = None
    passed: bool | None = None
    if values:
        held = [all(map(expectation.holds, values_of(value))) for value in values]
        passed = any(held) if at == "any" else all(held)
        shown = held.index(passed) if at in ("any", "always") else 0
        measured = values[shown]
    runs = [records.get(term.variant) for term in expression.terms]
    if not all(run is not None and run.settled for run in runs):
        match expression.terms[0].metric.name:
            case "status":
                closed = True
            case "findings":  # a finding that was made is never undone
                closed = passed is (expectation.bound == "contains")
            case _:
                closed = _closed(expression, at, passed)
        if not values or not closed:
            passed = None
    elif not values:
        passed = False  # it ended without the thing that was expected
    return Verdict(
        expectation.claim or expectation.metric,
        expectation.metric,
        at,
        measured,
        expectation.band,
        passed,
        expectation.bound,
        getattr(expectation, expectation.bound),
    )


def _closed(expression: Expression, at: str | int, passed: bool | None) -> bool:
    """Return whether what is still to come cannot change a verdict."""
    moments = expression.moments(at)
    if "end" in moments:
        return False
    return passed is (at == "any") if moments & {"any", "always"} else True


def values_of(value: Any) -> list[Any]:
    """Return the values of a metric that may be one or several, such as one a layer."""
    return value if isinstance(value, list) else [value]
