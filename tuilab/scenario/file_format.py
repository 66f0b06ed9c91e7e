"""The sections of a scenario file as typed structs.

Names of members (`activation = "relu"`) are resolved in `parsing`; here they are plain values.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1, le=10**12)]
Units = Annotated[int, Meta(ge=1, le=10**7)]  # more would be a typo, and fit in no memory


class Hidden(msgspec.Struct, frozen=True):
    """`depth` hidden layers of `width` units each."""

    depth: Annotated[int, Meta(ge=1, le=10**4)]
    width: Units


class DataSection(msgspec.Struct, frozen=True):
    """[data]: the keys that every source has; all others belong to the source."""

    source: str
    batch_size: Positive | Literal["all"] = 100
    preprocess: tuple[Any, ...] = ()
    augment: tuple[Any, ...] = ()
    validation: Annotated[float, Meta(ge=0, lt=1)] | Literal["test"] = 0.2


class NetworkSection(msgspec.Struct, frozen=True):
    """[network]; `hidden` unless there are [[layer]] tables."""

    hidden: Hidden | tuple[Units, ...] = ()
    activation: Any = "relu"
    initializer: Any = "he"
    bias: float = 0.0
    batch_norm: Any = False


class TrainSection(msgspec.Struct, frozen=True):
    """[train]: give `epochs` or `steps`; `checkpoint_every` counts steps."""

    epochs: Positive | None = None
    steps: Positive | None = None
    checkpoint_every: Positive | None = None
    dtype: Literal["float32", "float64"] = "float32"
    snapshots: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    """Steps whose statistics are always recorded."""


class Header(msgspec.Struct, frozen=True):
    """The keys before the first table."""

    title: str = ""
    question: str = ""
    lecture: str = ""
    look_at: str = ""
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 0


SECTIONS: Final = (
    *("data", "network", "layer", "loss"),
    *("optimizer", "schedule", "train", "expect", "diagnosis", "search"),
)
