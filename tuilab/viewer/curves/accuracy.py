"""The accuracy, on training batches and on the validation split."""

import math

from tuilab.charts import plot
from tuilab.viewer.curves.base import Scene, TrainAndValidation, frame


class Accuracy(TrainAndValidation):
    """From 0 to 1 where all of it is seen; the dashed level is chance."""

    name = field = "accuracy"
    title = "Accuracy"
    help = "share of examples that are right; dashed: chance"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        curves = self.curves(scene)
        classes = scene.store.info.classes
        chart = plot.Chart(
            curves,
            limits=None if scene.lens.zoomed else (0.0, 1.0),
            reference=1 / classes if classes > 1 else math.nan,
        )
        return frame(chart, scene)
