"""Blobs: Gaussian clouds, separated by straight lines as far as they do not overlap."""

from dataclasses import dataclass

import numpy as np

from engine.data.dataset import Labels, sources
from engine.data.sources.points import Points, PointSource
from engine.errors import require


@sources.register("blobs")
@dataclass(frozen=True)
class Blobs(PointSource):
    """A cloud of std `noise` per class, around a centre from a Gaussian of std `spread`.

    Two centres may be close, depending on the seed: the best accuracy with the defaults is between
    81 and 100 %.
    """

    noise: float = 1.0  # std of a blob
    features: int = 2  # number of inputs
    classes: int = 3  # number of blobs
    spread: float = 5.0  # std of the centres

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.features >= 1, "features", f"must be at least 1, is {self.features}")
        good = np.isfinite(self.spread) and self.spread >= 0
        require(bool(good), "spread", f"must be finite and not negative, is {self.spread:g}")

    def class_count(self) -> int:
        return self.classes

    def place(self, y: Labels, generator: np.random.Generator) -> Points:
        centres = self.spread * generator.standard_normal((self.classes, self.features))
        return np.asarray(centres[y])
