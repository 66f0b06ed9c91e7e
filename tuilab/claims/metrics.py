"""Metrics of a run by name, and their values as the database has them."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np

from engine.errors import ConfigError, UnknownNameError, require
from engine.states import EventKind, RunState
from engine.statistics.frames import FIELDS, PER_LAYER, TENSORS, Floats, Snapshot, Validation
from tuilab.diagnosis.finding import Finding, all_found
from tuilab.record import Block, RunReader

SPLITS: Final = ("train", "validation")
SPREADS: Final = ("mean", "std")
"""Measured for each feature of the data: two numbers, the smallest and the largest of them."""
USUAL_SERIES: Final = ("loss", "data_loss", "accuracy", "learning_rate")
WORDS: Final = ("status", "findings")
"""Metrics that are not numbers."""
SCALARS: Final = (
    *("loss", "loss.data", "accuracy.train", "accuracy.validation"),
    *("gain.forward", "gain.backward", *WORDS, "diverged_at", "parameters"),
    *("batch_dependence.training", "batch_dependence.evaluation"),
    *(f"data.{split}.{name}" for split in SPLITS for name in SPREADS),
    *(f"data.{split}.correlation" for split in SPLITS),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by the parts of its name; `layer` is an index from 1, −1 or "*"."""

    name: str
    layer: int | str | None = None
    tensor: str = ""
    field: str = ""
    argument: float = 0.0

    def axis(self, hidden: int) -> str:
        """Return what it has several values of, in a network of `hidden` hidden layers, or ""."""
        if self.layer == "*":
            return f"of {hidden} layers"
        spread = self.name.startswith("data.") and self.name.endswith(SPREADS)
        return "a range over the features" if spread else ""

    def check_layer(self, hidden: int) -> None:
        """Raise ConfigError where a network of `hidden` hidden layers has no such layer."""
        require(
            self.layer != "*" or hidden > 0, "", "there is no hidden layer; the output is layers[1]"
        )
        if isinstance(self.layer, int):
            require(
                -hidden <= self.layer <= hidden + 1,
                "",
                f"there is no layer {self.layer}: the network has {hidden} hidden layers "
                f"(1 … {hidden}, or −{hidden} … −1 from the last) and the output, {hidden + 1}",
            )


def parse_metric(text: str) -> Metric:
    """Return the metric of that name. Raises ConfigError, UnknownNameError."""
    if match := re.fullmatch(r"steps_to_loss\(([^)]+)\)", text):
        try:
            return Metric("steps_to_loss", argument=float(match[1]))
        except ValueError:
            raise ConfigError(f"steps_to_loss takes a number, got '{match[1]}'") from None
    if match := re.fullmatch(r"layers\[(\*|-?\d+)\]\.(\w+)(?:\.(\w+))?", text):
        layer = match[1] if match[1] == "*" else int(match[1])
        if layer == 0:
            raise ConfigError("layers count from 1 (−1: the last hidden one, *: all hidden ones)")
        if match[3] is None:
            if match[2] not in PER_LAYER:
                raise UnknownNameError("field of a layer", match[2], [*PER_LAYER, *TENSORS])
            return Metric("layer", layer, field=match[2])
        if match[2] not in TENSORS:
            raise UnknownNameError("tensor", match[2], TENSORS)
        if match[3] not in (*FIELDS, "norm"):
            raise UnknownNameError("field", match[3], [*FIELDS, "norm"])
        return Metric("tensor", layer, match[2], match[3])
    if text not in SCALARS:
        raise UnknownNameError(
            "metric", text, [*SCALARS, "layers[K].TENSOR.FIELD", "steps_to_loss(x)"]
        )
    return Metric(text)


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """Values of a metric by step; `end` overrides the last, where the end is an average."""

    steps: Sequence[int]
    value: Callable[[int], Any]  # position → value
    end: Any = None

    def at(self, when: str | int) -> list[Any]:
        """Return the value at "start", "end" or a step; [] when there is none."""
        count = len(self.steps)
        if self.end is not None and (when == "end" or not count):
            return [self.end]  # without steps it is one value for the whole run
        if isinstance(when, int):
            return [self.value(i) for i in range(count) if self.steps[i] == when]
        if not count:
            return []
        return [self.value(0 if when == "start" else count - 1)]


class AtLeast(float):
    """A number of which only a lower bound is known: `least`.

    As a number it is infinite, or NaN where nothing at all is known and `least` is −∞.
    """

    least: float

    def __new__(cls, least: float) -> Self:
        """Return the number with that bound."""
        self = super().__new__(cls, "nan" if least == -np.inf else "inf")
        self.least = least
        return self

    def __str__(self) -> str:
        return "not known" if self.least == -np.inf else f"at least {self.least:.4g}"


class NotWithin(AtLeast):
    """It did not happen within `least` steps: it takes more of them, if ever."""

    def __str__(self) -> str:
        return f"not in {self.least:g}"


class Record:
    """The recorded history of a run, read once and when first needed."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        self.info = reader.info()
        state = self.info.state
        self.settled = state.ended and state is not RunState.STOPPED  # nothing more will come
        self._blocks = reader.blocks()
        self._snapshots: dict[int, Snapshot] = {}

    @cached_property
    def loss(self) -> Floats:
        """Loss of each step, with weight decay."""
        return self.per_step("loss")

    @cached_property
    def data_loss(self) -> Floats:
        """Loss of each step, without weight decay."""
        return self.per_step("data_loss")

    @cached_property
    def accuracy(self) -> Floats:
        """Accuracy on the batch of each step; empty where it is not recorded."""
        return self.per_step("accuracy")

    @cached_property
    def validations(self) -> list[Validation]:
        """What was measured on the validation split, in order."""
        return self._reader.validations()

    @cached_property
    def snapshot_steps(self) -> list[int]:
        """Steps of the recorded snapshots, in order."""
        return self._reader.snapshot_steps()

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings over the whole run: one a rule, most severe first."""
        return all_found(event for _, event in self._reader.events())

    def snapshot(self, position: int) -> Snapshot:
        """Return a recorded snapshot by its place in `snapshot_steps`, read when first needed."""
        step = self.snapshot_steps[position]
        if step not in self._snapshots:
            snapshot = self._reader.snapshot(step)
            if snapshot is None:  # thinned out since the list was read
                snapshot = self._reader.snapshot()
            assert snapshot is not None
            self._snapshots[step] = snapshot
        return self._snapshots[step]

    @cached_property
    def series_names(self) -> list[str]:
        """Names of the recorded per-step series, the four usual ones first."""
        names = [name for block in self._blocks for name in block.series]
        return _usual_first([*names, "data_loss"] if "loss" in names else names)

    @property
    def validation_names(self) -> list[str]:
        """Names of what was measured on the validation split, the usual ones first."""
        return _usual_first(name for v in self.validations for name in v.values)

    def per_step(self, name: str) -> Floats:
        """Return a series over all steps, NaN where a step lacks it; empty if there is none."""
        if name not in self.series_names:
            return np.empty(0)
        return np.concatenate([block.values(name) for block in self._blocks])

    @property
    def last_block(self) -> Block | None:
        """The newest block of per-step series."""
        return self._blocks[-1] if self._blocks else None

    @property
    def window(self) -> int:
        """Steps that a noisy series is averaged over: an epoch, or all where there are fewer."""
        return max(1, min(self.info.steps_per_epoch, len(self.loss)))

    def final(self, series: Floats) -> float:
        """Mean of a per-step series over the last `window` steps."""
        return float(np.mean(series[-self.window :])) if len(series) else float("nan")

    def running_mean(self, series: Floats) -> Floats:
        """Mean over the `window` steps up to each step (fewer at the beginning)."""
        total = np.concatenate([[0.0], np.cumsum(series)])
        ends = np.arange(1, len(series) + 1)
        starts = np.maximum(ends - self.window, 0)
        return np.asarray((total[ends] - total[starts]) / (ends - starts))

    def series(self, metric: Metric) -> MetricSeries:
        """Return the values of a metric over the run."""
        match metric.name:
            case "loss" | "loss.data" | "accuracy.train":
                named = {"loss": self.loss, "loss.data": self.data_loss}
                values = named.get(metric.name, self.accuracy)
                end = self.final(values) if len(values) else None
                return MetricSeries(range(len(values)), lambda i: float(values[i]), end)
            case "accuracy.validation":
                measured = [v for v in self.validations if "accuracy" in v.values]
                return MetricSeries([v.step for v in measured], lambda i: measured[i].accuracy)
            case "steps_to_loss":
                return self._steps_to_loss(metric.argument)
            case "status":
                return _whole(self.info.state if self.info.ended else None)
            case "findings":
                return _whole(tuple(finding.rule for finding in self.findings))
            case "diverged_at":
                return _whole(self._diverged_at())
            case "parameters":
                return _whole(float(self.info.parameters) or None)
            case name if name.startswith("batch_dependence."):
                rows, field = self.info.batch_dependence, name.partition(".")[2]
                steps = [int(row["step"] or 0) for row in rows]
                return MetricSeries(steps, lambda i: _number(rows[i][field]))
            case name if name.startswith("data."):
                _, split, field = name.split(".")
                inputs = self.info.inputs.get(split)
                return _whole(inputs and _number(inputs[field]))
        return MetricSeries(self.snapshot_steps, lambda i: _of_snapshot(metric, self.snapshot(i)))

    def _steps_to_loss(self, target: float) -> MetricSeries:
        below = np.flatnonzero(self.running_mean(self.loss) <= target)
        if len(below):
            return _whole(float(below[0]))
        never: Any = None
        if self.settled:
            finished = self.info.state is RunState.FINISHED
            never = NotWithin(len(self.loss)) if finished else float("nan")
        return _whole(never)

    def _diverged_at(self) -> float | None:
        for _, event in self._reader.events():
            if event.kind == EventKind.DIVERGED:
                return float(event.step)
        return NotWithin(len(self.loss)) if self.info.state is RunState.FINISHED else None


def _usual_first(names: Iterable[str]) -> list[str]:
    """Return each of the names once, those of USUAL_SERIES first."""
    unique = dict.fromkeys(names)
    usual = [name for name in USUAL_SERIES if name in unique]
    return [*usual, *(name for name in unique if name not in usual)]


def _number(value: Any) -> Any:
    """Return a number, or a list of them, that was stored as JSON, which has no NaN."""
    if isinstance(value, list):
        return [_number(element) for element in value]
    return float("nan") if value is None else float(value)


def _whole(value: Any) -> MetricSeries:
    """Return the series of a metric that has one value for the whole run."""
    return MetricSeries((), lambda _: None, value)


def _of_snapshot(metric: Metric, snapshot: Snapshot) -> Any:
    if metric.name.startswith("gain."):
        return getattr(snapshot, metric.name.replace(".", "_"))
    if metric.name == "layer":
        values = np.asarray(getattr(snapshot, metric.field))
    else:
        values = snapshot.field(metric.tensor, metric.field)
    hidden = values[: snapshot.hidden]
    if metric.layer == "*":
        return [float(value) for value in hidden]
    layer = int(metric.layer or 0)
    index = layer - 1 if layer > 0 else len(hidden) + layer
    return float(values[index]) if 0 <= index < len(values) else float("nan")
