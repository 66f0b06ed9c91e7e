"""The handwritten digits that come with the package (see digits.LICENSE.md)."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from engine.data.dataset import Examples, Loaded, Source, sources


@sources.register("digits")
@dataclass(frozen=True)
class Digits(Source):
    """1,797 images of 8 × 8 pixels with values 0 … 16, flattened to 64 features; 10 classes.

    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49 (CC BY 4.0): its test set.
    """

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        with (
            (files("engine.data.sources") / "digits.npz").open("rb") as file,
            np.load(file) as archive,
        ):
            x, y = archive["images"].astype(np.float32), archive["labels"].astype(np.int64)
        names = tuple(str(digit) for digit in range(10))
        return Loaded(f"digits {len(y)}×{x.shape[1]}", names, Examples(x, y), pixels=(1, 8, 8))
