"""What all kinds of charts share: the scene that is drawn, and curves over steps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

import numpy as np

from engine.statistics.frames import Floats
from tuilab.charts import event_markers as marks
from tuilab.charts import formats, plot
from tuilab.charts.series import Reduced, reduce, visible
from tuilab.charts.smoothing import smooth, smooth_ratio
from tuilab.charts.viewport import Viewport
from tuilab.viewer.model.other_runs import OtherRun
from tuilab.viewer.model.store import RunStore

SEEN: Final = 16  # layers that have a curve; of more, an even choice
DEPTHS: Final = 8
"""Roles `depth.0` to `depth.7` tell layers apart, from the input to the output."""


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a chart, as legends and read-outs write it."""

    name: str
    text: str
    role: str
    glyph: str = "─"
    short: str = ""  # a shorter name, where room is short


@dataclass(frozen=True, slots=True)
class Scene:
    """A run and those beside it, through a lens; `dots` is how many points a curve may have."""

    store: RunStore
    others: Sequence[OtherRun]
    lens: Viewport
    dots: int = 200

    @property
    def newest(self) -> float:
        """The last step that there is."""
        ends = [own[-1] for own in self._steps if len(own)]
        return float(max(ends, default=1.0))

    @property
    def _steps(self) -> list[Floats]:
        series = (self.store.series, *(other.series for other in self.others))
        measured = np.array([v.step for v in self.store.validations[-1:]], np.float64)
        return [*(each.steps for each in series), measured]

    @property
    def window(self) -> tuple[float, float]:
        """The first and the last step in sight."""
        return self.lens.window(self.newest)

    def epoch(self, step: float) -> float:
        """Return the epoch of a step, 0 where it is not known how long one is."""
        length = self.store.info.steps_per_epoch
        return step / length if length else 0.0

    def reduced(self, steps: Floats, values: Floats, dots: int | None = None) -> Reduced:
        """Return what is in sight of a series, as finely as the canvas can show it."""
        part = visible(steps, self.window)
        return reduce(steps[part], values[part], dots or self.dots)


class Kind(ABC):
    """A kind of chart: how it is drawn, and which numbers stand beside it."""

    name: ClassVar[str]
    """The panel's id."""
    title: ClassVar[str]
    help: ClassVar[str]
    awaited: ClassVar[str] = "the first step"
    """What must be recorded before there is anything to draw."""
    smoothed: ClassVar[bool] = True
    """Whether the strength of smoothing matters to it."""
    has_axes: ClassVar[bool] = False
    """Whether its axis may be linear or logarithmic, as one likes."""

    @abstractmethod
    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""

    @abstractmethod
    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the numbers of the title: the newest, or those of the step `at`."""

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return further numbers, which stand below the chart."""
        return []

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return all numbers at a step, as a read-out gives them."""
        return [*self.values(scene, at), *self.beside(scene, at)]

    def waits(self, scene: Scene) -> bool:
        """Tell whether there is nothing to draw yet."""
        return not len(scene.store.series)

    def broken(self, scene: Scene) -> int:
        """Return how many steps in sight have no number."""
        return 0


class ByLayer(Kind):
    """A kind of chart of what snapshots tell of each layer: a `field` of `LayerSeries`."""

    awaited = "the first snapshot"
    field: ClassVar[Literal["update_ratio", "gradient_norm"]]

    @staticmethod
    @abstractmethod
    def text(value: float) -> str:
        """Write a value."""

    def curves(self, scene: Scene) -> list[plot.Curve]:
        """Return a curve a layer."""
        layers = scene.store.layer_series()
        return by_layer(scene, layers.steps, getattr(layers, self.field))

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the value of each layer that has a curve."""
        layers = scene.store.layer_series()
        return of_layers(layers.steps, getattr(layers, self.field), at, self.text)

    def waits(self, scene: Scene) -> bool:
        """Tell whether no snapshot has been taken."""
        return not len(scene.store.layer_series())


def frame(chart: plot.Chart, scene: Scene) -> plot.Chart:
    """Return a chart with the window, the marks and the cursor of a scene."""
    return replace(
        chart,
        window=scene.window,
        marks=marks.of_events(scene.store.events),
        cursor=math.nan if scene.store.at is None else scene.store.at,
    )


def line(scene: Scene, steps: Floats, values: Floats, role: str) -> list[plot.Curve]:
    """Return the curve of a noisy series: its trend, and behind it, dim, all that it does.

    The trend is the moving average where one is asked for, else the mean of what falls on a dot.
    """
    raw = scene.reduced(steps, values)
    trend = raw
    if scene.lens.smoothing:
        trend = scene.reduced(steps, smooth(values, scene.lens.smoothing))
    elif not bool((raw.low < raw.high).any()):
        return [plot.Curve(raw, role)]
    return [plot.Curve(raw, f"{role}.dim", band=True), plot.Curve(trend, role)]


def beside(scene: Scene, field: str) -> list[plot.Curve]:
    """Return the curves of the other runs, without what is behind the trend."""
    found = []
    for other in scene.others:
        values = smooth(getattr(other.series, field), scene.lens.smoothing)
        data = scene.reduced(other.series.steps, values)
        found.append(plot.Curve(data, other.role, leads=False))
    return found


def measured(scene: Scene, field: str) -> list[plot.Curve]:
    """Return the dots of the validation split, "loss" or "accuracy"."""
    found = scene.store.validations
    if not found:
        return []
    steps = np.array([v.step for v in found], np.float64)
    values = np.array([getattr(v, field) for v in found])
    data = scene.reduced(steps, values, max(scene.dots // 5, 1))
    return [plot.Curve(data, "validation", "•", points=True)]


class TrainAndValidation(Kind):
    """A kind of chart of what is known of both splits, and of other runs: a `field` of `Series`."""

    field: ClassVar[Literal["loss", "accuracy"]]

    def curves(self, scene: Scene) -> list[plot.Curve]:
        """Return those of the other runs, of training, and the dots of validation."""
        series = scene.store.series
        own = line(scene, series.steps, getattr(series, self.field), "train")
        return [*beside(scene, self.field), *own, *measured(scene, self.field)]

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
            Value(each.name, formats.significant(each.series.value(self.field, at)), each.role)
            for each in scene.others
        ]


def chosen(layers: int) -> list[int]:
    """Return which of so many layers have a curve, from 0: the first, the last, and between."""
    return sorted({round(k) for k in np.linspace(0, layers - 1, min(layers, SEEN)).tolist()})


def shade(layer: int, layers: int) -> str:
    """Return the role of a layer, from 0: from blue at the input to amber at the output."""
    return f"depth.{round(layer / max(layers - 1, 1) * (DEPTHS - 1))}"


def by_layer(scene: Scene, steps: Floats, table: Floats) -> list[plot.Curve]:
    """Return a curve a layer of a table (layers, steps), the output layer in front."""
    strength = scene.lens.smoothing
    return [
        plot.Curve(scene.reduced(steps, smooth_ratio(table[k], strength)), shade(k, len(table)))
        for k in chosen(len(table))
    ]


def of_layers(
    steps: Floats, table: Floats, at: int | None, text: Callable[[float], str]
) -> list[Value]:
    """Return the numbers of each layer with a curve: the newest, or those before the step `at`."""
    if not len(steps):
        return []
    newest = len(steps) - 1
    place = newest if at is None else int(np.searchsorted(steps, at, side="right")) - 1
    return [
        Value(str(k + 1), text(float(table[k, max(place, 0)])), shade(k, len(table)), "")
        for k in chosen(len(table))
    ]


def ends(values: Sequence[Value]) -> list[Value]:
    """Return the numbers of the first and of the last layer, by their full names."""
    two = values if len(values) < 2 else (values[0], values[-1])
    return [
        replace(value, name=f"layer {value.name}", glyph="─", short=value.name) for value in two
    ]
