"""What the trainer tells: frames at display cadence, and in some of them a snapshot of statistics.

Everything here is plain host data (NumPy), immutable by convention, and knows no backend: it is
the one thing that crosses from the engine to the recording and the view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TENSORS: Final = (
    "activation",  # output of the non-linearity
    "pre_activation",  # its input, after normalisation
    "activation_grad",  # dL/dA
    "weight",
    "weight_grad",  # dL/dW, of the whole loss
    "update",  # ΔW, what the optimiser added in this step
)
FIELDS: Final = (
    "count",
    "mean",
    "std",  # of the population
    "min",
    "max",
    "zero_fraction",
    "saturated_fraction",
    "nonfinite",  # how many values are NaN or infinite
)
PER_LAYER: Final = ("dead_fraction", "update_ratio", "asymmetry", "one_signed")
"""Fields of a snapshot with one value a layer."""
BINS: Final = 64
WIDTH_IN_RMS: Final = 2.5
"""A histogram without natural bounds reaches at least so many root mean squares from 0."""


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """How a layer's weights are drawn: with mean 0 and a std that follows from the fans."""

    fan_in: int  # inputs of a unit
    fan_out: int  # units that an input goes to
    std: float
    bias: float = 0.0  # the first value of every bias


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer as the lecture counts: a linear map, its normalisation and its non-linearity."""

    index: int  # from 1; the output layer comes last
    name: str  # of its non-linearity: "relu"; "output"
    kind: str  # "linear"
    units: int
    activation: str  # "relu"; "identity" at the output
    normalization: str = ""  # "batch_norm", "layer_norm" or ""
    parameters: int = 0
    first: FirstWeights | None = None  # None where they have no mean of 0, or no known std
    settings: dict[str, Any] = field(default_factory=dict)  # of the non-linearity
    between: tuple[str, ...] = ()  # kinds of what else stands in the layer: "dropout"
    sees: tuple[int, ...] = ()  # what one unit is connected to: (inputs,), or a window (h, w, c)
    frozen: bool = False  # its parameters stay as they are


@dataclass(frozen=True, slots=True)
class Units:
    """What each unit of a layer did over the examples of one batch; arrays (units,).

    A unit of a convolution is a channel, and each of its places counts as an example.
    """

    mean: npt.NDArray[np.float32]  # of its activation
    active: Floats | None  # share of examples on which it rose above its floor; None: it has none
    saturated: Floats | None  # share of examples on which it was saturated; None: it cannot be
    dead: npt.NDArray[np.bool_] | None  # silent over the last whole epoch; None: not known


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The statistics of every layer at one step, as one dense table.

    `step` counts updates made before: activations, gradients and weights are those with which
    update number `step` was computed, and `update` is that update.
    """

    step: int
    epoch: float
    statistics: Floats  # (layers, TENSORS, FIELDS)
    histograms: npt.NDArray[np.int64]  # (layers, TENSORS, 1 + BINS + 1): below, bins …, above
    ranges: Floats  # (layers, TENSORS, 2): low and high edge of the bins
    dead_fraction: Floats  # (layers,): units silent over the last whole epoch
    update_ratio: Floats  # (layers,): ‖ΔW‖ / ‖W‖
    asymmetry: Floats  # (layers,): ‖W − mean over units‖ / ‖W‖; 0: all units are the same
    one_signed: Floats  # (layers,): share of (example, unit) pairs whose dW has one sign
    units: Sequence[Units | None] = ()  # of each layer, where they were measured

    def field(self, tensor: str, name: str) -> Floats:
        """Return one field of one tensor for all layers, shape (layers,); also `norm` (L2)."""
        table = self.statistics[:, TENSORS.index(tensor)]
        if name == "norm":
            mean, std = table[:, FIELDS.index("mean")], table[:, FIELDS.index("std")]
            with np.errstate(over="ignore", invalid="ignore"):  # of a tensor that is not finite
                return np.asarray(np.sqrt(table[:, FIELDS.index("count")]) * np.hypot(mean, std))
        return np.asarray(table[:, FIELDS.index(name)])

    @property
    def gain_forward(self) -> float:
        """Factor by which the std of activations changes per hidden layer, going forwards."""
        return gain(self.field("activation", "std")[:-1])

    @property
    def gain_backward(self) -> float:
        """Factor by which the std of dL/dA changes per hidden layer, going backwards."""
        return gain(self.field("activation_grad", "std")[:-1][::-1])

    def first_nonfinite(self) -> tuple[int, str] | None:
        """Layer index (from 0) and tensor where NaN or infinity first appears in the step."""
        bad = self.statistics[:, :, FIELDS.index("nonfinite")] > 0
        forward = ("weight", "pre_activation", "activation")
        backward = ("activation_grad", "weight_grad", "update")
        for order, names in ((range(len(bad)), forward), (reversed(range(len(bad))), backward)):
            for layer in order:
                for name in names:
                    if bad[layer, TENSORS.index(name)]:
                        return layer, name
        return None


def gain(std: Floats) -> float:
    """Return the factor per layer: exp of the slope of log(std) over depth (least squares).

    NaN with fewer than two layers; layers that are exactly zero or not finite carry no slope, and
    where all the others are zero the signal is gone: 0.
    """
    if len(std) < 2:
        return float("nan")
    usable = np.isfinite(std) & (std > 0)
    if usable.sum() < 2:
        return 0.0 if bool((std == 0).any()) else float("nan")
    depth = np.arange(len(std), dtype=np.float64)[usable]
    depth -= depth.mean()
    with np.errstate(over="ignore"):  # a factor beyond 1e308 a layer is infinite enough
        return float(np.exp(depth @ np.log(std[usable]) / (depth @ depth)))


def divergence(
    loss: float, step: int, snapshot: Snapshot | None, layers: Sequence[LayerInfo]
) -> dict[str, object]:
    """Return what an event tells of a loss that is not finite: where it came from, as is known."""
    detail: dict[str, object] = {"loss": str(loss)}
    message = f"the loss became {loss} at step {step}"
    if snapshot is not None and (found := snapshot.first_nonfinite()) is not None:
        layer, tensor = layers[found[0]], found[1]
        detail |= {"layer": layer.index, "name": layer.name, "tensor": tensor}
        message += f"; first not finite: {tensor} of layer {layer.index} ({layer.name})"
    return detail | {"message": message}


@dataclass(frozen=True, slots=True)
class Validation:
    """Loss and accuracy on the validation split, measured after `step` updates."""

    step: int
    epoch: float
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class BatchDependence:
    """How much the scores of an example change when the rest of its batch is replaced.

    The root mean square of the change, over examples and scores, relative to the spread of the
    scores (see `engine.training.batch_dependence`); after `step` updates.
    """

    step: int
    training: float
    evaluation: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened between steps: a command that was applied, or a divergence.

    "eager" tells why a GPU makes steps operation by operation, or none at all.
    """

    step: int
    time: float  # seconds since the trainer was made
    kind: str  # that of a command, "refused", "resumed", "diverged", "eager"
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """What is trained and how, as it stands: what a command may have made another."""

    layers: Sequence[LayerInfo]  # hidden layers from 1, the output layer last
    parameters: int
    batch_size: int
    steps_per_epoch: int
    schedule: str  # its name
    speed_limit: float  # steps a second; 0: none


@dataclass(frozen=True, slots=True)
class Frame:
    """What happened since the last frame: per-step series, and what else was due."""

    first_step: int  # of the series below; they are empty when no step was made
    time: float
    epoch: float  # epochs completed, with fraction
    loss: Floats
    data_loss: Floats
    accuracy: Floats
    learning_rate: Floats
    steps_per_second: float
    probe_share: float  # share of the training time that statistics cost, 0…1
    hyperparameters: dict[str, float]
    validations: Sequence[Validation] = ()
    batch_dependence: BatchDependence | None = None
    snapshot: Snapshot | None = None
    events: Sequence[Event] = ()
    standing: TrainingStatus | None = None  # from here on, where an event has changed it
    state: str = "running"  # running | paused | finished | diverged | stopped

    @property
    def next_step(self) -> int:
        """Number of updates made by the end of this frame."""
        return self.first_step + len(self.loss)
