"""The accuracy, on training batches and on the validation split."""

import math
from typing import Final

from tuilab.charts import plot
from tuilab.viewer.curves.base import Scene, TrainAndValidation, frame


class Accuracy(TrainAndValidation):
    """From 0 to 1 unless zoomed; the dashed level is chance."""

    name = field = "accuracy"
    order = 20
    title = "Accuracy"
    help = "share of correct predictions; dashed: chance"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        curves = self.curves(scene)
        classes = scene.store.info.classes
        chart = plot.Chart(
            curves,
            limits=None if scene.viewport.zoomed else (0.0, 1.0),
            reference=1 / classes if classes > 1 else math.nan,
        )
        return frame(chart, scene)


KIND: Final = Accuracy()
