"""The norm of the weight gradient, layer by layer and of the whole network."""

from tuilab.viewer import formats, plot
from tuilab.viewer.curves.base import (
    Kind,
    Scene,
    Value,
    by_layer,
    ends,
    frame,
    of_layers,
)
from tuilab.viewer.smoothing import smooth_ratio


class GradientNorm(Kind):
    """‖dL/dW‖ of each layer and of all together, on a logarithmic axis; without biases."""

    name = "gradient_norm"
    title = "Gradient norm"
    help = "‖dL/dW‖ of each layer, blue at the input, and of all weights together"
    awaited = "the first snapshot"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        layers = scene.store.layer_series()
        total = smooth_ratio(layers.total_norm, scene.lens.smoothing)
        curves = [
            *by_layer(scene, layers.steps, layers.gradient_norm),
            plot.Curve(scene.reduced(layers.steps, total), "train"),
        ]
        return frame(plot.Chart(curves, logarithmic=True), scene)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the norm of all weights, and of the first and the last layer."""
        return self._total(scene, at) + ends(self.beside(scene, at))

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the norm of each layer that has a curve."""
        layers = scene.store.layer_series()
        return of_layers(layers.steps, layers.gradient_norm, at, formats.sci)

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return the norm of all weights, and of each layer."""
        return self._total(scene, at) + self.beside(scene, at)

    def _total(self, scene: Scene, at: int | None) -> list[Value]:
        layers = scene.store.layer_series()
        total = of_layers(layers.steps, layers.total_norm[None], at, formats.sci)
        return [Value("all", value.text, "train") for value in total]

    def waits(self, scene: Scene) -> bool:
        """Tell whether no snapshot has been taken."""
        return not len(scene.store.layer_series())
