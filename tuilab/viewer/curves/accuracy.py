"""The accuracy, on training batches and on the validation split."""

import math

from tuilab.viewer import plot
from tuilab.viewer.curves.base import (
    Kind,
    Scene,
    Value,
    beside,
    frame,
    line,
    measured,
    of_others,
    train_and_validation,
)


class Accuracy(Kind):
    """From 0 to 1 where all of it is seen; the dashed level is chance."""

    name = "accuracy"
    title = "Accuracy"
    help = "share of examples that are right; dashed: chance"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        series = scene.store.series
        curves = [
            *beside(scene, "accuracy"),
            *line(scene, series.steps, series.accuracy, "train"),
            *measured(scene, "accuracy"),
        ]
        classes = scene.store.info.classes
        chart = plot.Chart(
            curves,
            limits=None if scene.lens.zoomed else (0.0, 1.0),
            reference=1 / classes if classes > 1 else math.nan,
        )
        return frame(chart, scene)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the accuracy of training and validation."""
        return train_and_validation(scene, "accuracy", at)

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the accuracy of the other runs."""
        return of_others(scene, "accuracy", at)
