"""Independent random streams from one seed, so that changing one use leaves the others alone."""

from typing import Final

import numpy as np

PURPOSES: Final = ("data", "split", "weights", "shuffle", "dropout", "augment")


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator for one of PURPOSES; the same seed gives the same numbers anywhere."""
    key = (PURPOSES.index(purpose),)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
