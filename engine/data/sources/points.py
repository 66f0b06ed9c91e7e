"""Base of the synthetic sources: balanced classes of points with Gaussian noise."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.dataset import Examples, Labels, Loaded, Source, sources
from engine.errors import require

Points = npt.NDArray[np.float64]  # (samples, features)


@dataclass(frozen=True)
class PointSource(Source):
    """Points with classes in turn, so that their sizes differ by one at most.

    `noise` is the standard deviation of the noise added to every coordinate.
    """

    samples: int = 300  # number of examples
    noise: float = 0.1  # std added to each coordinate

    def __post_init__(self) -> None:
        classes = self.class_count()
        require(classes >= 2, "classes", f"must be at least 2, is {classes}")
        require(
            self.samples >= classes,
            "samples",
            f"must be at least {classes}, one per class, is {self.samples}",
        )
        good = np.isfinite(self.noise) and self.noise >= 0
        require(bool(good), "noise", f"must be finite and not negative, is {self.noise:g}")

    def class_count(self) -> int:
        """Return the number of classes."""
        return 2

    def place(self, y: Labels, generator: np.random.Generator) -> Points:
        """Return the points of classes `y` (samples,) without noise."""
        raise NotImplementedError

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        y = np.arange(self.samples, dtype=np.int64) % self.class_count()
        x = self.place(y, generator)
        x += self.noise * generator.standard_normal(x.shape)
        names = tuple(str(label) for label in range(self.class_count()))
        return Loaded(f"{sources.name_of(self)} {len(x)}×{x.shape[1]}", names, Examples(x, y))


def on_circle(angle: Points, radius: Points | float = 1.0) -> Points:
    """Return the points (samples, 2) at `angle` in radians (samples,) on circles of `radius`."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
