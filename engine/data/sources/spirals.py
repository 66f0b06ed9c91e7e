"""Spirals: classes that no straight line separates."""

from dataclasses import dataclass

import numpy as np

from engine.data.dataset import Labels, sources
from engine.data.sources.points import Points, PointSource, on_circle
from engine.errors import require


@sources.register("spirals")
@dataclass(frozen=True)
class Spirals(PointSource):
    """One arm per class, from the centre to radius 1 in `turns` turns; 2 features.

    After the toy data of "Putting it together" in the notes of CS231n (Karpathy), whose arms make
    0.64 turns. More turns are harder.
    """

    noise: float = 0.02  # std added to each angle
    classes: int = 3  # number of arms
    turns: float = 0.75  # of each arm

    def __post_init__(self) -> None:
        super().__post_init__()
        good = np.isfinite(self.turns) and self.turns > 0
        require(bool(good), "turns", f"must be finite and positive, is {self.turns:g}")

    def class_count(self) -> int:
        return self.classes

    def place(self, y: Labels, generator: np.random.Generator) -> Points:
        radius = generator.random(len(y))
        return on_circle(2 * np.pi * (self.turns * radius + y / self.classes), radius)
