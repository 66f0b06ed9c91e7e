"""The loss, of training batches and of the validation split."""

import math
from typing import Final

import numpy as np

from tuilab.charts import plot
from tuilab.charts.symbols import NOT_FINITE
from tuilab.viewer.curves.base import Scene, TrainAndValidation, frame


class Loss(TrainAndValidation):
    """Logarithmic where it spans more than two decades; the dashed level is ln C.

    That is the loss of guessing all C classes with equal probability.
    """

    name = field = "loss"
    order = 10
    title = "Loss"
    help = (
        "line: training batches; dots: validation; dashed: guessing; dim: every step;"
        f" {NOT_FINITE.glyph}: a loss that is not finite"
    )
    has_axes = True

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        series, curves = scene.store.series, self.curves(scene)
        classes = scene.store.info.classes
        chart = plot.Chart(
            curves,
            reference=math.log(classes) if classes > 1 else math.nan,
            logarithmic=logarithmic(scene, curves),
            broken=series.steps[series.broken > 0],
        )
        return frame(chart, scene)

    def broken(self, scene: Scene) -> int:
        """Return the number of steps in sight whose loss is not finite."""
        series, (first, last) = scene.store.series, scene.window
        in_sight = (series.steps >= first) & (series.steps <= last)
        return round(float(series.broken[in_sight].sum()))


KIND: Final = Loss()


def logarithmic(scene: Scene, curves: list[plot.Curve]) -> bool:
    """Return whether the y axis is logarithmic: as chosen, or as suits the values."""
    if scene.viewport.logarithmic is not None:
        return scene.viewport.logarithmic
    return plot.wants_logarithm(np.concatenate([curve.data.mean for curve in curves]))
