"""What all kinds of charts share: the scene that they draw, and curves over steps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import formats, plot
from tuilab.charts.event_markers import of_events
from tuilab.charts.series import Reduced, reduce, visible
from tuilab.charts.smoothing import smooth, smooth_ratio
from tuilab.charts.viewport import Viewport
from tuilab.viewer.model.capabilities import logs
from tuilab.viewer.model.layer_tree import short_paths
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore

CURVES: Final = 16  # layers that have a curve at most, evenly chosen
TENSOR_NAMES: Final = {"weight": "weights", "weight_grad": "dL/dW", "update": "updates ΔW"}
DEPTHS: Final = 8
"""Number of the roles `depth.0` … that distinguish layers, from the input to the output."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number of a chart, as legends and read-outs show it."""

    name: str
    text: str
    role: str
    glyph: str = "─"
    short: str = ""  # a shorter name, for narrow panels


@dataclass(frozen=True, slots=True)
class Scene:
    """A run and the others, through a viewport; a curve has at most `dots` points."""

    store: RunStore
    others: Sequence[OtherRun]
    viewport: Viewport
    dots: int = 200

    @property
    def newest(self) -> float:
        """The last step of any of the series."""
        ends = [own[-1] for own in self._steps if len(own)]
        return float(max(ends, default=1.0))

    @property
    def _steps(self) -> list[Floats]:
        series = (self.store.series, *(other.series for other in self.others))
        measured = np.array([v.step for v in self.store.validations[-1:]], np.float64)
        return [*(one.steps for one in series), measured]

    @property
    def window(self) -> tuple[float, float]:
        """The first and the last step in sight."""
        return self.viewport.window(self.newest)

    def epoch(self, step: float) -> float:
        """Return the epoch of a step, 0 if the length of an epoch is not known."""
        length = self.store.info.steps_per_epoch
        return step / length if length else 0.0

    def reduced(self, steps: Floats, values: Floats, dots: int | None = None) -> Reduced:
        """Return the part of a series that is in sight, with as many points as can be shown."""
        part = visible(steps, self.window)
        return reduce(steps[part], values[part], dots or self.dots)


class Kind(ABC):
    """A kind of chart: how it is drawn, and which numbers it shows."""

    order: ClassVar[int]
    """Its place among the kinds."""
    name: ClassVar[str]
    """The panel's id."""
    title: ClassVar[str]
    help: ClassVar[str]
    awaited: ClassVar[str] = "the first step"
    """What must be recorded before it can be drawn."""
    smoothed: ClassVar[bool] = True
    """Whether smoothing affects it."""
    has_axes: ClassVar[bool] = False
    """Whether the user can choose a linear or a logarithmic axis."""

    @abstractmethod
    def chart(self, scene: Scene) -> plot.Chart:
        """Return the chart of a scene."""

    @abstractmethod
    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the numbers in the title: the newest, or those of the step `at`."""

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return further numbers, which are shown below the chart."""
        return []

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return all numbers at a step, for the read-out of the cursor."""
        return [*self.values(scene, at), *self.beside(scene, at)]

    def waits(self, scene: Scene) -> bool:
        """Return whether there is nothing to draw yet."""
        return not len(scene.store.series)

    def missing(self, scene: Scene) -> bool:
        """Return whether the run, and those beside it, record nothing of the kind."""
        return False

    def absent(self, scene: Scene) -> str:
        """Return in words that the run records nothing of the kind, and what to do about it."""
        return f"this run has no {self.title.lower()}"

    def broken(self, scene: Scene) -> int:
        """Return the number of steps in sight whose value is not finite."""
        return 0


class ByLayer(Kind):
    """A kind of chart with a curve per layer, from snapshots: a `field` of `LayerSeries`."""

    awaited = "the first snapshot"
    field: ClassVar[Literal["update_ratio", "gradient_norm"]]
    tensors: ClassVar[frozenset[str]]
    """Those that it is computed from."""

    @staticmethod
    @abstractmethod
    def text(value: float) -> str:
        """Return a value as text."""

    def curves(self, scene: Scene) -> list[plot.Curve]:
        """Return a curve per layer."""
        layers = scene.store.layer_series()
        return by_layer(scene, layers.steps, getattr(layers, self.field))

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the value of each layer that has a curve."""
        layers = scene.store.layer_series()
        table = getattr(layers, self.field)
        return of_layers(layers.steps, table, at, self.text, short_paths(scene.store.info.layers))

    def waits(self, scene: Scene) -> bool:
        """Return whether there is no snapshot yet."""
        return not len(scene.store.layer_series())

    def absent(self, scene: Scene) -> str:
        """Return which tensors are missing."""
        snapshot = scene.store.snapshot
        lacking = self.tensors - set(snapshot.tensors if snapshot else ())
        names = [name for tensor, name in TENSOR_NAMES.items() if tensor in lacking]
        return f"{self.title.lower()}: {' and '.join(names)} not measured"

    def missing(self, scene: Scene) -> bool:
        """Return whether snapshots lack the tensors."""
        snapshot = scene.store.snapshot
        return snapshot is not None and not self.tensors <= set(snapshot.tensors)


def frame(chart: plot.Chart, scene: Scene) -> plot.Chart:
    """Return a chart with the window, the markers and the cursor of a scene."""
    return replace(
        chart,
        window=scene.window,
        markers=of_events(scene.store.events),
        cursor=math.nan if scene.store.at is None else scene.store.at,
    )


def line(scene: Scene, steps: Floats, values: Floats, role: str) -> list[plot.Curve]:
    """Return the curves of a noisy series: its trend, and its full range dim behind it.

    The trend is the moving average if one is chosen, otherwise the mean of the steps per dot.
    """
    raw = scene.reduced(steps, values)
    trend = raw
    if scene.viewport.smoothing:
        trend = scene.reduced(steps, smooth(values, scene.viewport.smoothing))
    elif not bool((raw.low < raw.high).any()):
        return [plot.Curve(raw, role)]
    return [plot.Curve(raw, f"{role}.dim", band=True), plot.Curve(trend, role)]


def unrecorded(scene: Scene, field: str) -> bool:
    """Return whether no run has a series of that name."""
    runs = (scene.store.series, *(other.series for other in scene.others))
    return not any(field in series.names for series in runs)


def beside(scene: Scene, field: str) -> list[plot.Curve]:
    """Return the trends of the other runs."""
    curves = []
    for other in scene.others:
        values = smooth(other.series.values(field), scene.viewport.smoothing)
        data = scene.reduced(other.series.steps, values)
        curves.append(plot.Curve(data, other.role, leads=False))
    return curves


def measured(scene: Scene, field: str) -> list[plot.Curve]:
    """Return the dots of the validation split, "loss" or "accuracy"."""
    validations = scene.store.validations
    if not validations:
        return []
    steps = np.array([v.step for v in validations], np.float64)
    values = np.array([getattr(v, field) for v in validations])
    data = scene.reduced(steps, values, max(scene.dots // 5, 1))
    return [plot.Curve(data, "validation", "•", points=True)]


class TrainAndValidation(Kind):
    """A kind of chart for both splits and the other runs: a `field` of `Series`."""

    field: ClassVar[Literal["loss", "accuracy"]]

    def curves(self, scene: Scene) -> list[plot.Curve]:
        """Return the curves of the other runs and of training, and the dots of validation."""
        series = scene.store.series
        own = line(scene, series.steps, series.values(self.field), "train")
        return [*beside(scene, self.field), *own, *measured(scene, self.field)]

    def absent(self, scene: Scene) -> str:
        """Return what a watched program has to log."""
        if not logs(scene.store.info):
            return super().absent(scene)
        return f"{self.field}: not logged; in the program: run.log({self.field}=…)"

    def missing(self, scene: Scene) -> bool:
        """Return whether neither split has such values."""
        validated = any(self.field in v.values for v in scene.store.validations)
        return not validated and unrecorded(scene, self.field)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the training and the validation value."""
        until = math.inf if at is None else at
        known = [v for v in scene.store.validations if v.step <= until]
        train = formats.significant(scene.store.series.value(self.field, at))
        values = [Value("train", train, "train")]
        if known:
            text = formats.significant(getattr(known[-1], self.field))
            values.append(Value("validation", text, "validation", "•", "val"))
        return values

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the values of the other runs."""
        return [
            Value(run.name, formats.significant(run.series.value(self.field, at)), run.role)
            for run in scene.others
        ]


def chosen(layers: int) -> list[int]:
    """Return the layers (from 0) that have a curve: the first, the last, and some between."""
    return sorted({round(k) for k in np.linspace(0, layers - 1, min(layers, CURVES)).tolist()})


def shade(layer: int, layers: int) -> str:
    """Return the role of a layer, from 0: from blue at the input to amber at the output."""
    return f"depth.{round(layer / max(layers - 1, 1) * (DEPTHS - 1))}"


def by_layer(scene: Scene, steps: Floats, table: Floats) -> list[plot.Curve]:
    """Return a curve per layer of a table (layers, steps), the output layer in front."""
    strength = scene.viewport.smoothing
    return [
        plot.Curve(scene.reduced(steps, smooth_ratio(table[k], strength)), shade(k, len(table)))
        for k in chosen(len(table))
    ]


def of_layers(
    steps: Floats,
    table: Floats,
    at: int | None,
    text: Callable[[float], str],
    names: Sequence[str] = (),
) -> list[Value]:
    """Return the number of each layer with a curve: the newest, or the last up to step `at`.

    Layers without `names` are numbered.
    """
    named = len(names) == len(table)
    if not len(steps):
        return []
    newest = len(steps) - 1
    place = newest if at is None else int(np.searchsorted(steps, at, side="right")) - 1
    return [
        Value(
            names[k] if named else str(k + 1),
            text(float(table[k, max(place, 0)])),
            shade(k, len(table)),
            "",
        )
        for k in chosen(len(table))
    ]


def ends(values: Sequence[Value]) -> list[Value]:
    """Return the numbers of the first and of the last layer, with full names."""
    both = values if len(values) < 2 else (values[0], values[-1])
    return [
        replace(
            value,
            name=f"layer {value.name}" if value.name.isdecimal() else value.name,
            glyph="─",
            short=value.name,
        )
        for value in both
    ]
