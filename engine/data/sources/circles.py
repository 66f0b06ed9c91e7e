"""Circles: one class inside the other."""

from dataclasses import dataclass

import numpy as np

from engine.data.dataset import Labels, sources
from engine.data.sources.points import Points, PointSource, on_circle
from engine.errors import require


@sources.register("circles")
@dataclass(frozen=True)
class Circles(PointSource):
    """A circle of radius 1 and, inside, one of radius `factor`; 2 features, 2 classes."""

    noise: float = 0.05  # std added to each coordinate
    factor: float = 0.5  # inner radius over the outer one

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.factor < 1, "factor", f"must lie in (0, 1), is {self.factor:g}")

    def place(self, y: Labels, generator: np.random.Generator) -> Points:
        angle = 2 * np.pi * generator.random(len(y))
        return on_circle(angle, np.where(y == 0, 1.0, self.factor))
