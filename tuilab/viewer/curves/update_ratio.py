"""How large an update is against the weights, layer by layer; about 10⁻³ is healthy."""

from dataclasses import replace
from typing import Final

from tuilab.charts import formats, plot
from tuilab.charts.series import Reduced
from tuilab.charts.smoothing import logarithm
from tuilab.viewer.curves.base import (
    ByLayer,
    Scene,
    Value,
    ends,
    frame,
)

HEALTHY: Final = -3.0
"""Decimal logarithm of the ratio that the lecture calls healthy: somewhere around 1e-3."""


class UpdateRatio(ByLayer):
    """log₁₀ ‖ΔW‖/‖W‖ of each layer; the dashed level is −3."""

    name = field = "update_ratio"
    title = "Update ratio"
    help = "log₁₀ ‖ΔW‖/‖W‖ of each layer, blue at the input; dashed: −3, about what is healthy"
    text = staticmethod(formats.log10)

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        curves = [
            replace(curve, data=Reduced(curve.data.x, *map(logarithm, curve.data[1:])))
            for curve in self.curves(scene)
        ]
        return frame(
            plot.Chart(curves, reference=HEALTHY, reference_seen=not scene.lens.zoomed), scene
        )

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the ratio of the first and of the last layer."""
        return ends(self.beside(scene, at))

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return the ratio of each layer."""
        return self.beside(scene, at)
