"""How large an update is against the weights, layer by layer; about 10⁻³ is healthy."""

from typing import Final

import numpy as np

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
        with np.errstate(divide="ignore", invalid="ignore"):
            heights = np.log10(layers.update_ratio)
        curves = by_layer(scene, layers.steps, np.where(np.isfinite(heights), heights, np.nan))
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

    def waits(self, scene: Scene) -> bool:
        """Tell whether no snapshot has been taken."""
        return not len(scene.store.layer_series())
