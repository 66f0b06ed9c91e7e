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

    depth: Annotated[int, Meta(ge=1, le=10**4)]  # number of hidden layers
    width: Units  # units of each


class DataSection(msgspec.Struct, frozen=True):
    """[data]: the keys that every source has; all others belong to the source."""

    source: str  # name of a data source
    batch_size: Positive | Literal["all"] = 100  # examples in a batch
    preprocess: tuple[Any, ...] = ()  # steps, fitted to the training split, in order
    augment: tuple[Any, ...] = ()  # random changes of training images
    validation: Annotated[float, Meta(ge=0, lt=1)] | Literal["test"] = 0.2
    """Share of the training examples that is held out, or "test": the test split."""


class NetworkSection(msgspec.Struct, frozen=True):
    """[network]; `hidden` unless there are [[layer]] tables."""

    hidden: Hidden | tuple[Units, ...] = ()  # units of each hidden layer
    activation: Any = "relu"  # non-linearity of the hidden layers
    initializer: Any = "he"  # rule that draws the weights
    bias: float = 0.0  # initial value of every bias
    batch_norm: Any = False  # after the weights of each hidden layer


class TrainSection(msgspec.Struct, frozen=True):
    """[train]: give `epochs` or `steps`; `checkpoint_every` counts steps."""

    epochs: Positive | None = None  # length of the training, or give `steps`
    steps: Positive | None = None  # length of the training, or give `epochs`
    checkpoint_every: Positive | None = None  # steps; default: by time
    dtype: Literal["float32", "float64"] = "float32"  # of data, parameters and gradients
    snapshots: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    """Steps whose statistics are always recorded."""


class Header(msgspec.Struct, frozen=True):
    """The keys before the first table."""

    title: str = ""  # of the run, in views and reports
    question: str = ""  # what the run is to show
    lecture: str = ""  # where the lecture treats it
    look_at: str = ""  # what to watch on the screen
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 0  # of all random numbers


SECTIONS: Final = (
    *("data", "network", "layer", "loss"),
    *("optimizer", "schedule", "train", "expect", "diagnosis", "search"),
)
DEFAULTS: Final = {"loss": "softmax_cross_entropy", "optimizer": "sgd", "schedule": "constant"}
"""The members that a file means if it does not name one."""
