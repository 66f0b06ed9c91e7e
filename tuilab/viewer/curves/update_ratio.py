"""The size of updates relative to the weights, per layer; about 10⁻³ is healthy."""

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
"""Decimal logarithm of the ratio that the lecture calls healthy: around 1e-3."""


class UpdateRatio(ByLayer):
    """log₁₀ ‖ΔW‖/‖W‖ of each layer; the dashed level is −3."""

    name = field = "update_ratio"
    tensors = frozenset(("update", "weight"))
    order = 30
    title = "Update ratio"
    help = "log₁₀ ‖ΔW‖/‖W‖ of each layer, blue at the input; dashed: −3, about healthy"
    text = staticmethod(formats.log10)

    def chart(self, scene: Scene) -> plot.Chart:
        """Return what is drawn of a scene."""
        curves = [
            replace(curve, data=Reduced(curve.data.x, *map(logarithm, curve.data[1:])))
            for curve in self.curves(scene)
        ]
        return frame(
            plot.Chart(curves, reference=HEALTHY, reference_visible=not scene.viewport.zoomed),
            scene,
        )

    def values(self, scene: Scene, at: int | None) -> list[Value]:
        """Return the ratio of the first and of the last layer."""
        return ends(self.beside(scene, at))

    def read(self, scene: Scene, at: int) -> list[Value]:
        """Return the ratio of each layer."""
        return self.beside(scene, at)


KIND: Final = UpdateRatio()
