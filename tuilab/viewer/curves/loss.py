"""The loss, of training batches and of the validation split."""

import math

import numpy as np

from tuilab.charts import plot
from tuilab.viewer.curves.base import Scene, TrainAndValidation, frame


class Loss(TrainAndValidation):
    """Its axis turns logarithmic where it spans over two decades; the dashed level is ln C.

    That is the loss of guessing all C classes alike.
    """

    name = field = "loss"
    title = "Loss"
    help = (
        "lines: training batches; dots: validation; dashed: guessing. Dim behind the line is"
        " every step; ✕ is a loss that is no number"
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
        """Return how many steps in sight have a loss that is not finite."""
        series, (first, last) = scene.store.series, scene.window
        seen = (series.steps >= first) & (series.steps <= last)
        return round(float(series.broken[seen].sum()))


def logarithmic(scene: Scene, curves: list[plot.Curve]) -> bool:
    """Tell whether the y axis is logarithmic: as it was chosen, or as the values want it."""
    if scene.lens.logarithmic is not None:
        return scene.lens.logarithmic
    return plot.wants_logarithm(np.concatenate([curve.data.mean for curve in curves]))
