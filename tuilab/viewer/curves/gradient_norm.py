"""The norm of the weight gradient, per layer and of the whole network."""

from typing import Final

from tuilab.charts import formats, plot
from tuilab.charts.smoothing import smooth_ratio
from tuilab.viewer.curves.base import (
    ByLayer,
    Scene,
    Value,
    ends,
    frame,
    of_layers,
)


class GradientNorm(ByLayer):
    """‖dL/dW‖ of each layer and of all together, on a logarithmic axis; without biases."""

    name = field = "gradient_norm"
    tensors = frozenset(("weight_grad",))
    order = 40
    title = "Gradient norm"
    help = "‖dL/dW‖ of each layer, blue at the input, and of all weights together"
    text = staticmethod(formats.sci)

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        layers = scene.store.layer_series()
        total = smooth_ratio(layers.total_norm, scene.viewport.smoothing)
        curves = [
            *self.curves(scene),
            plot.Curve(scene.reduced(layers.steps, total), "train"),
        ]
        return frame(plot.Chart(curves, logarithmic=True), scene)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the norm of all weights, and of the first and the last layer."""
        return self._total(scene, at) + ends(self.beside(scene, at))

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return the norm of all weights, and of each layer."""
        return self._total(scene, at) + self.beside(scene, at)

    def _total(self, scene: Scene, at: int | None) -> list[Value]:
        layers = scene.store.layer_series()
        total = of_layers(layers.steps, layers.total_norm[None], at, formats.sci)
        return [Value("all", value.text, "train") for value in total]


KIND: Final = GradientNorm()
