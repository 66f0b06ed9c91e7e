"""Fashion-MNIST: clothes, in the format of MNIST and harder."""

from dataclasses import dataclass
from typing import ClassVar

from engine.data.dataset import sources
from engine.data.sources.idx import IdxImages


@sources.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(IdxImages):
    """60,000 pictures of clothes to train on and 10,000 to validate (Xiao et al., 2017)."""

    title: ClassVar = "Fashion-MNIST"
    names: ClassVar = (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
