"""How large an update is against the weights, layer by layer; about 10⁻³ is healthy."""

from dataclasses import replace
from typing import Final

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
from tuilab.viewer.series import Reduced
from tuilab.viewer.smoothing import logarithm

HEALTHY: Final = -3.0
"""Decimal logarithm of the ratio that the lecture calls healthy: somewhere around 1e-3."""


class UpdateRatio(Kind):
    """log₁₀ ‖ΔW‖/‖W‖ of each layer; the dashed level is −3."""

    name = "update_ratio"
    title = "Update ratio"
    help = "log₁₀ ‖ΔW‖/‖W‖ of each layer, blue at the input; dashed: −3, about what is healthy"
    awaited = "the first snapshot"

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        layers = scene.store.layer_series()
        curves = [
            replace(curve, data=Reduced(curve.data.x, *map(logarithm, curve.data[1:])))
            for curve in by_layer(scene, layers.steps, layers.update_ratio)
        ]
        return frame(
            plot.Chart(curves, reference=HEALTHY, reference_seen=not scene.lens.zoomed), scene
        )

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the ratio of the first and of the last layer."""
        return ends(self.beside(scene, at))

    def beside(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the ratio of each layer that has a curve."""
        layers = scene.store.layer_series()
        return of_layers(layers.steps, layers.update_ratio, at, formats.log10)

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return the ratio of each layer."""
        return self.beside(scene, at)

    def waits(self, scene: Scene) -> bool:
        """Tell whether no snapshot has been taken."""
        return not len(scene.store.layer_series())
