"""`[[expect]]`: a claim about a metric of a run, with a band, and the verdict on it.

Metrics are read from the run's database, so a finished run can be judged again at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.errors import ConfigError, UnknownNameError, require
from tuilab.decode import Table, convert, join
from tuilab.diagnosis import rules
from tuilab.metrics import Metric, NotWithin, Record, Series, parse_metric
from tuilab.recording import RunReader

At = Literal["start", "end", "any", "always"] | Annotated[int, Meta(ge=0)]
BOUNDS: Final = ("between", "below", "above", "equals", "contains", "lacks")
STATUSES: Final = ("finished", "diverged", "stopped")


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One [[expect]] table; exactly one of the bounds is given."""

    metric: str
    claim: str = ""
    at: At = "end"
    between: tuple[float, float] | None = None
    below: float | None = None
    above: float | None = None
    equals: float | str | None = None
    contains: str | None = None
    lacks: str | None = None  # a rule that must find nothing

    @classmethod
    def parse(cls, table: Table, path: str, hidden: int) -> "Expectation":
        """Validate a table at `path`, for a network of `hidden` layers. Raises ConfigError."""
        expectation: Expectation = convert(table, cls, path)
        given = [name for name in BOUNDS if name in table]
        require(len(given) == 1, path, f"give exactly one of {', '.join(BOUNDS)}, got {len(given)}")
        try:
            metric = parse_metric(expectation.metric)
            metric.check_layer(hidden)
        except ConfigError as error:
            raise error.under(path, "metric") from None
        expectation._check_bound(metric, join(path, expectation.bound))
        return expectation

    def _check_bound(self, metric: Metric, path: str) -> None:
        """Raise ConfigError unless the bound fits what the metric measures."""
        value = getattr(self, self.bound)
        if metric.name == "status":
            require(
                self.bound in ("equals", "contains"), path, 'status is a word: use equals = "…"'
            )
            if self.bound == "equals" and value not in STATUSES:
                raise UnknownNameError("status", value, STATUSES, path)
            return
        if metric.name == "findings":
            texts = self.bound in ("contains", "lacks")
            require(texts, path, 'findings are rules: use contains = "…" or lacks = "…"')
            if value not in rules:
                raise UnknownNameError("rule", value, rules, path)
            return
        texts = self.bound in ("contains", "lacks")
        require(not texts, path, f"{self.metric} is a number, not a text")
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
        """Tell whether one measured value satisfies the bound; NaN satisfies only `equals`."""
        if isinstance(value, NotWithin):  # a run that was too short proves nothing
            return self.above is not None and value.steps >= self.above
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
        if isinstance(value, list):
            low, high = min(value, default=None), max(value, default=None)
            return f"{_number(low)} … {_number(high)}" if low != high else _number(low)
        if isinstance(value, tuple):
            return ", ".join(value) or "none"
        return _number(value)


def _number(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, NotWithin):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def judge(expectations: Sequence[Expectation], run: RunReader | Record) -> list[Verdict]:
    """Judge a run: while it is live, or was stopped early, what could still change is left open."""
    record = run if isinstance(run, Record) else Record(run)
    return [_verdict(expectation, record) for expectation in expectations]


def _verdict(expectation: Expectation, record: Record) -> Verdict:
    metric, at = parse_metric(expectation.metric), expectation.at
    series = record.series(metric)
    values = _at(series, at, record)
    measured: Any = None
    passed: bool | None = None
    if values:
        held = [all(map(expectation.holds, _flat(value))) for value in values]
        passed = any(held) if at == "any" else all(held)
        shown = held.index(passed) if at in ("any", "always") else 0
        measured = values[shown]
    closed = {"end": False, "always": passed is False, "any": passed is True}
    if metric.name == "findings":  # one that was found stays found
        closed = {str(at): passed is (expectation.bound == "contains")}
    if not values:
        passed = False if record.settled else None  # it ended without the thing that was expected
    elif not record.settled and metric.name != "status" and not closed.get(str(at), True):
        passed = None
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


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _at(series: Series, at: str | int, record: Record) -> list[Any]:
    """Return the values of `series` that `at` is about; [] when there is none."""
    count = len(series.steps)
    if series.end is not None and (at == "end" or not count):
        return [series.end]  # without steps it is one value for the whole run, whatever `at` says
    if isinstance(at, int):
        return [series.value(i) for i in range(count) if series.steps[i] == at]
    if not count:
        return []
    positions = {"start": [0], "end": [count - 1]}.get(at, range(count))
    return [series.value(position) for position in positions]
