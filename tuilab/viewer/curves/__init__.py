"""The kinds of charts over steps: what each draws, and how its numbers are read.

One module a kind; a new one is a module, and a line in `KINDS`, which panels, keys and help go by.
"""

from typing import Final

from tuilab.viewer.curves.accuracy import Accuracy
from tuilab.viewer.curves.base import Kind, Scene, Value
from tuilab.viewer.curves.gradient_norm import GradientNorm
from tuilab.viewer.curves.learning_rate import LearningRate
from tuilab.viewer.curves.loss import Loss
from tuilab.viewer.curves.update_ratio import UpdateRatio

KINDS: Final[tuple[Kind, ...]] = (
    Loss(),
    Accuracy(),
    UpdateRatio(),
    GradientNorm(),
    LearningRate(),
)
"""All kinds, in the order in which a key goes through them; the first is always on the screen."""

__all__ = ["KINDS", "Kind", "Scene", "Value"]
