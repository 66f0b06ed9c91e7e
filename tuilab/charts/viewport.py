"""Through which window, and how, curves are looked at; the same for all charts of a screen."""

import math
from dataclasses import dataclass, replace
from typing import Final

from tuilab.charts.smoothing import STRENGTHS

LEAST: Final = 8.0  # steps that a window shows at the least


@dataclass(frozen=True, slots=True)
class Viewport:
    """`span` steps up to `right`; infinite: all of them, and the newest, which is followed."""

    span: float = math.inf
    right: float = math.inf
    logarithmic: bool | None = None  # None: as the values want it
    smoothing: float = 0.0  # strength of the moving average

    @property
    def zoomed(self) -> bool:
        """Tell whether less than everything is seen."""
        return math.isfinite(self.span)

    def window(self, newest: float) -> tuple[float, float]:
        """Return the first and the last step that are seen, where `newest` is the last there is."""
        newest = max(newest, 1.0)
        right = min(self.right, newest)
        return max(right - self.span, 0.0), right

    def zoom(self, factor: float, at: float, newest: float) -> "Viewport":
        """Show `factor` times as many steps; the step `at` stays where it is on the screen."""
        low, high = self.window(newest)
        span = max((high - low) * factor, min(LEAST, newest))
        if span >= newest:
            return self.reset()
        at = min(max(at, low), high)
        share = (at - low) / (high - low)
        return self._ending_at(at + (1 - share) * span, span, newest)

    def pan(self, share: float, newest: float) -> "Viewport":
        """Move the window by a share of its width; at the newest step it follows again."""
        if not self.zoomed:
            return self
        low, high = self.window(newest)
        return self._ending_at(high + share * (high - low), high - low, newest)

    def _ending_at(self, right: float, span: float, newest: float) -> "Viewport":
        right = max(right, span)
        return replace(self, span=span, right=math.inf if right >= newest else right)

    def reset(self) -> "Viewport":
        """Show everything again, with the same axis and smoothing."""
        return replace(self, span=math.inf, right=math.inf)

    def other_axis(self, *, logarithmic: bool) -> "Viewport":
        """Change the axis from what is shown now; back to the automatic choice after both."""
        if self.logarithmic is None:
            return replace(self, logarithmic=not logarithmic)
        return replace(self, logarithmic=None)

    def smoother(self) -> "Viewport":
        """Take the next strength of smoothing, and none after the last."""
        following = (STRENGTHS.index(self.smoothing) + 1) % len(STRENGTHS)
        return replace(self, smoothing=STRENGTHS[following])
