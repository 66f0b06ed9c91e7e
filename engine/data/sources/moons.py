"""Moons: two interlocking half circles."""

from dataclasses import dataclass

import numpy as np

from engine.data.dataset import Labels, sources
from engine.data.sources.points import Points, PointSource, on_circle


@sources.register("moons")
@dataclass(frozen=True)
class Moons(PointSource):
    """Two half circles of radius 1, the lower one moved by (1, ½); 2 features, 2 classes."""

    def place(self, y: Labels, generator: np.random.Generator) -> Points:
        upper = on_circle(np.pi * generator.random(len(y)))
        return np.where((y == 0)[:, None], upper, np.array([1.0, 0.5]) - upper)
