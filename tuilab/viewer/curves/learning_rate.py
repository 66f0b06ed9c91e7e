"""The learning rate in effect: the schedule times the changes by key."""

from typing import Final

from tuilab.charts import formats, plot
from tuilab.viewer.curves.base import Kind, Scene, Value, frame, unrecorded
from tuilab.viewer.curves.loss import logarithmic


class LearningRate(Kind):
    """Exact at every step: neither noisy nor smoothed."""

    name = "learning_rate"
    order = 50
    title = "Learning rate"
    help = "in effect: the schedule times the changes by key"
    smoothed = False
    has_axes = True

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        series = scene.store.series
        curves = [
            plot.Curve(
                scene.reduced(other.series.steps, other.series.values("learning_rate")), other.role
            )
            for other in scene.others
        ]
        own = scene.reduced(series.steps, series.values("learning_rate"))
        curves.append(plot.Curve(own, "update"))
        return frame(plot.Chart(curves, logarithmic=logarithmic(scene, curves)), scene)

    def missing(self, scene: Scene) -> bool:
        """Return whether no run records its learning rate."""
        return unrecorded(scene, self.name)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the learning rate."""
        rate = scene.store.series.value("learning_rate", at)
        return [Value("lr", formats.rate(rate), "update")]

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the learning rates of the other runs."""
        return [
            Value(other.name, formats.rate(other.series.value("learning_rate", at)), other.role)
            for other in scene.others
        ]


KIND: Final = LearningRate()
