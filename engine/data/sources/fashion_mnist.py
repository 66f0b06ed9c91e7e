"""Fashion-MNIST: clothes, in the format of MNIST."""

from dataclasses import dataclass
from typing import ClassVar

from engine.data.dataset import sources
from engine.data.sources.idx import IdxImages


@sources.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(IdxImages):
    """60,000 images of clothes for training and 10,000 for testing (Xiao et al., 2017)."""

    title: ClassVar = "Fashion-MNIST"
    names: ClassVar = (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
