"""The window, axis and smoothing of curves; the same for all charts of a screen."""

import math
from dataclasses import dataclass, replace
from typing import Final

from tuilab.charts.smoothing import STRENGTHS

LEAST: Final = 8.0  # steps of a window at least


@dataclass(frozen=True, slots=True)
class Viewport:
    """A window of `span` steps that ends at `right`; infinite: all steps, following the newest."""

    span: float = math.inf
    right: float = math.inf
    logarithmic: bool | None = None  # None: as suits the values
    smoothing: float = 0.0  # strength of the moving average

    @property
    def zoomed(self) -> bool:
        """Whether only a part of the steps is shown."""
        return math.isfinite(self.span)

    def window(self, newest: float) -> tuple[float, float]:
        """Return the first and the last step of the window; `newest` is the last step so far."""
        newest = max(newest, 1.0)
        right = min(self.right, newest)
        return max(right - self.span, 0.0), right

    def zoom(self, factor: float, at: float, newest: float) -> "Viewport":
        """Return the viewport with `factor` times as many steps; `at` stays at its place."""
        low, high = self.window(newest)
        span = max((high - low) * factor, min(LEAST, newest))
        if span >= newest:
            return self.reset()
        at = min(max(at, low), high)
        share = (at - low) / (high - low)
        return self._ending_at(at + (1 - share) * span, span, newest)

    def pan(self, share: float, newest: float) -> "Viewport":
        """Return the viewport moved by a share of its width; at the newest step it follows."""
        if not self.zoomed:
            return self
        low, high = self.window(newest)
        return self._ending_at(high + share * (high - low), high - low, newest)

    def _ending_at(self, right: float, span: float, newest: float) -> "Viewport":
        right = max(right, span)
        return replace(self, span=span, right=math.inf if right >= newest else right)

    def reset(self) -> "Viewport":
        """Return the viewport of all steps, with the same axis and smoothing."""
        return replace(self, span=math.inf, right=math.inf)

    def other_axis(self, *, logarithmic: bool) -> "Viewport":
        """Return the viewport with the axis that is not shown now; the next time, automatic."""
        if self.logarithmic is None:
            return replace(self, logarithmic=not logarithmic)
        return replace(self, logarithmic=None)

    def smoother(self) -> "Viewport":
        """Return the viewport with the next strength of smoothing; after the last, none."""
        following = (STRENGTHS.index(self.smoothing) + 1) % len(STRENGTHS)
        return replace(self, smoothing=STRENGTHS[following])
