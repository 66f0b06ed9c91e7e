"""MNIST: handwritten digits."""

from dataclasses import dataclass
from typing import ClassVar

from engine.data.dataset import sources
from engine.data.sources.idx import IdxImages


@sources.register("mnist")
@dataclass(frozen=True)
class Mnist(IdxImages):
    """60,000 handwritten digits for training and 10,000 for testing (LeCun et al., 1998)."""

    title: ClassVar = "MNIST"
    names: ClassVar = tuple(str(digit) for digit in range(10))
