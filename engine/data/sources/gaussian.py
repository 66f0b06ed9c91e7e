"""Unit Gaussian inputs, as in the lecture's experiments."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from engine.data.dataset import Examples, Loaded, Source, sources
from engine.errors import require


@sources.register("gaussian")
@dataclass(frozen=True)
class Gaussian(Source):
    """Unit Gaussian inputs (samples, features), labelled by a random linear teacher.

    The label is the largest of `classes` random projections of the input, so that there is
    something to learn. The lecture (weight initialisation, 1000 × 500) only runs it forwards.
    """

    samples: int = 1000  # number of examples
    features: int = 500  # number of inputs
    classes: int = 10  # number of random labels

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(value >= 1, field.name, f"must be at least 1, is {value}")
        require(self.classes >= 2, "classes", f"must be at least 2, is {self.classes}")

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        x = generator.standard_normal((self.samples, self.features))
        teacher = generator.standard_normal((self.features, self.classes))
        labels = np.argmax(x @ teacher, axis=1).astype(np.int64)
        names = tuple(str(label) for label in range(self.classes))
        return Loaded(f"gaussian {self.samples}×{self.features}", names, Examples(x, labels))
