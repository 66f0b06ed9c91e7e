"""The norm of the weight gradient, layer by layer and of the whole network."""

from tuilab.viewer import formats, plot
from tuilab.viewer.curves.base import (
    Kind,
    Scene,
    Value,
    by_layer,
    ends,
    frame,
    line,
    of_layers,
)


class GradientNorm(Kind):
    """‖dL/dW‖ of each layer and of all together, on a logarithmic axis; without biases."""

    name = "gradient_norm"
    title = "Gradient norm"
    help = "‖dL/dW‖ of each layer, blue at the input, and of all weights together"
    awaited = "the first snapshot"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        layers = scene.store.layer_series()
        curves = [
            *by_layer(scene, layers.steps, layers.gradient_norm),
            *line(scene, layers.steps, layers.total_norm, "train")[-1:],
        ]
        return frame(plot.Chart(curves, logarithmic=True), scene)

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the norm of all weights, and of the first and the last layer."""
        layers = scene.store.layer_series()
        total = of_layers(layers.steps, layers.total_norm[None], at, formats.sci)
        named = [Value("all", value.text, "train") for value in total]
        return named + ends(self.beside(scene, at))

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the norm of each layer that has a curve."""
        layers = scene.store.layer_series()
        return of_layers(layers.steps, layers.gradient_norm, at, formats.sci)

    def waits(self, scene: Scene) -> bool:
        """Tell whether no snapshot has been taken."""
        return not len(scene.store.layer_series())
