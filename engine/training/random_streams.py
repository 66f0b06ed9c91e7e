"""Independent random streams from one seed: a change to one use does not affect the others."""

from typing import Final

import numpy as np

PURPOSES: Final = ("data", "split", "weights", "shuffle", "dropout", "augment")


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator for one of PURPOSES; the same seed gives the same numbers everywhere."""
    key = (PURPOSES.index(purpose),)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
