"""What a source of training reports: frames, some of them with a snapshot of statistics.

Everything here is plain host data (NumPy), immutable by convention, and knows no backend. Frames
are all that crosses from a source (the engine, or anybody's own training loop) to the record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.states import RunState

Floats = npt.NDArray[np.float64]
Role = Literal["hidden", "output"]

TENSORS: Final = (
    "activation",  # output of the non-linearity
    "pre_activation",  # its input, after normalisation
    "activation_grad",  # dL/dA
    "weight",
    "weight_grad",  # dL/dW, of the whole loss
    "update",  # ΔW, what the optimiser added in this step
)
"""The tensors that the engine measures; another source may record others, or fewer."""
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
"""A histogram without natural bounds reaches at least this many root mean squares from 0."""


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """How a layer's weights are drawn: with mean 0 and a std that follows from the fans."""

    fan_in: int  # inputs of a unit
    fan_out: int  # units that an input goes to
    std: float
    bias: float = 0.0  # the first value of every bias


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer as the lecture counts: a linear map, its normalisation and its non-linearity.

    Layers form a tree of paths ("encoder", "encoder.0"); hidden layers come first and output
    layers last. What a reader needs to know of the non-linearity is recorded here, so that no
    reader has to know its name.
    """

    index: int  # from 1; the output layer comes last
    name: str  # of its non-linearity: "relu"; "output"
    kind: str  # "linear"
    units: int
    activation: str  # "relu"; "identity" at the output
    normalization: str = ""  # "batch_norm", "layer_norm" or ""
    parameters: int = 0
    first: FirstWeights | None = None  # None where they have no mean of 0, or no known std
    settings: dict[str, Any] = field(default_factory=dict)  # of the non-linearity
    between: tuple[str, ...] = ()  # kinds of what else the layer contains: "dropout"
    sees: tuple[int, ...] = ()  # what one unit is connected to: (inputs,), or a window (h, w, c)
    frozen: bool = False  # its parameters stay as they are
    path: str = ""  # unique: "3", or "encoder.0"; "" means the index
    parent: str = ""  # path of the layer that contains it
    role: Role = "hidden"
    bounds: tuple[float | None, float | None] = (None, None)  # lowest and highest activation
    saturated: tuple[float, float] | None = None  # activations at or beyond these are saturated
    silent_at: float | None = None  # a unit that never rises above this is dead; None: it cannot be

    @property
    def location(self) -> str:
        """The layer's path, or its index where it has none."""
        return self.path or str(self.index)


def hidden_layers(layers: Sequence[LayerInfo]) -> int:
    """Return the number of layers before the first output layer, which may be the last layer."""
    outputs = (at for at, layer in enumerate(layers) if layer.role == "output")
    return next(outputs, max(len(layers) - 1, 0))


@dataclass(frozen=True, slots=True)
class Units:
    """What each unit of a layer did over the examples of one batch; arrays (units,).

    A unit of a convolution is a channel, and each of its places counts as an example.
    """

    mean: npt.NDArray[np.float32]  # of its activation
    active: Floats | None  # share of examples on which it rose above its floor; None: no floor
    saturated: Floats | None  # share of examples on which it was saturated; None: it cannot be
    dead: npt.NDArray[np.bool_] | None  # silent over the last whole epoch; None: not known


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The statistics of every layer at one step, as one dense table.

    `step` counts the updates before it: activations, gradients and weights are those with which
    update number `step` was computed, and `update` is that update. The table's second axis is
    `tensors`; a tensor that a layer lacks is NaN there. `measure_snapshot` builds one from arrays.
    """

    step: int
    epoch: float
    statistics: Floats  # (layers, tensors, FIELDS)
    histograms: npt.NDArray[np.int64]  # (layers, tensors, 1 + BINS + 1): below, bins …, above
    ranges: Floats  # (layers, tensors, 2): low and high edge of the bins
    dead_fraction: Floats  # (layers,): units silent over the last whole epoch
    update_ratio: Floats  # (layers,): ‖ΔW‖ / ‖W‖
    asymmetry: Floats  # (layers,): ‖W − mean over units‖ / ‖W‖; 0: all units are the same
    one_signed: Floats  # (layers,): share of (example, unit) pairs whose dW has one sign
    units: Sequence[Units | None] = ()  # of each layer, where they were measured
    tensors: tuple[str, ...] = TENSORS
    outputs: int = 1  # output layers, which come last

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.statistics)

    @property
    def hidden(self) -> int:
        """Number of hidden layers."""
        return len(self) - self.outputs

    def field(self, tensor: str, name: str) -> Floats:
        """Return one field of one tensor for all layers, (layers,); also its `norm` (L2).

        NaN where the snapshot has no such tensor.
        """
        if tensor not in self.tensors:
            return np.full(len(self), np.nan)
        table = self.statistics[:, self.tensors.index(tensor)]
        if name == "norm":
            mean, std = table[:, FIELDS.index("mean")], table[:, FIELDS.index("std")]
            with np.errstate(over="ignore", invalid="ignore"):  # of a tensor that is not finite
                return np.asarray(np.sqrt(table[:, FIELDS.index("count")]) * np.hypot(mean, std))
        return np.asarray(table[:, FIELDS.index(name)])

    @property
    def gain_forward(self) -> float:
        """Factor by which the std of activations changes per hidden layer, going forwards.

        NaN where the layers are not a chain, each given what the one before it has returned:
        where their inputs are recorded as well, under the name "input".
        """
        return self._gain("activation", 1)

    @property
    def gain_backward(self) -> float:
        """Factor by which the std of dL/dA changes per hidden layer, going backwards; or NaN."""
        return self._gain("activation_grad", -1)

    def _gain(self, tensor: str, direction: int) -> float:
        if "input" in self.tensors:
            return float("nan")
        return gain(self.field(tensor, "std")[: self.hidden][::direction])

    def first_nonfinite(self) -> tuple[int, str] | None:
        """Layer index (from 0) and tensor where NaN or infinity first appears in the step."""
        forward = ("weight", "pre_activation", "activation")
        backward = ("activation_grad", "weight_grad", "update")
        layers = range(len(self))
        for order, names in ((layers, forward), (layers[::-1], backward)):
            broken = {name: self.field(name, "nonfinite") > 0 for name in names}
            for layer in order:
                for name in names:
                    if broken[name][layer]:
                        return layer, name
        return None


def with_update_ratio(snapshot: Snapshot) -> Snapshot:
    """Fill ‖ΔW‖ / ‖W‖ of a snapshot from its table, and return it."""
    weight, update = snapshot.field("weight", "norm"), snapshot.field("update", "norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(update, weight, out=snapshot.update_ratio)
    return snapshot


def gain(std: Floats) -> float:
    """Return the factor per layer: exp of the slope of log(std) over depth (least squares).

    NaN with fewer than two layers. Layers that are exactly zero or not finite do not count; if
    fewer than two layers are left and one of the others is zero, the signal is gone: 0.
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
    """Return the detail of the event for a loss that is not finite: its origin, if known."""
    detail: dict[str, object] = {"loss": str(loss)}
    message = f"the loss became {loss} at step {step}"
    if snapshot is not None and (origin := snapshot.first_nonfinite()) is not None:
        layer, tensor = layers[origin[0]], origin[1]
        detail |= {"layer": layer.index, "name": layer.name, "tensor": tensor}
        message += f"; first not finite: {tensor} of layer {layer.index} ({layer.name})"
    return detail | {"message": message}


@dataclass(frozen=True, slots=True)
class Validation:
    """Values measured on the validation split after `step` updates, by name."""

    step: int
    epoch: float
    values: Mapping[str, float]  # "loss", "accuracy", or whatever else was measured

    @classmethod
    def of(cls, step: int, epoch: float, **values: float) -> "Validation":
        """Return the values given by name: `Validation.of(100, 1.0, loss=0.3)`."""
        return cls(step, epoch, values)

    @property
    def loss(self) -> float:
        """Loss on the validation split; NaN where it was not measured."""
        return self.values.get("loss", float("nan"))

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation split; NaN where it was not measured."""
        return self.values.get("accuracy", float("nan"))


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

    An `eager` event gives the reason why a GPU runs steps operation by operation, or not at all.
    """

    step: int
    time: float  # seconds since the run began
    kind: str  # an `EventKind`
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingStatus:
    """What is trained and how, at a step: what a command may have changed."""

    layers: Sequence[LayerInfo] = ()  # hidden layers from 1, the output layer last
    parameters: int = 0
    batch_size: int = 0
    steps_per_epoch: int = 0
    schedule: str = ""  # of the learning rate: "cosine"
    speed_limit: float = 0.0  # steps a second at most; 0: none


class NamedSeries:
    """Per-step series by name, with the four usual ones as properties: NaN where absent."""

    __slots__ = ()

    first_step: int
    series: Mapping[str, Floats]  # (steps,) each

    @property
    def steps(self) -> int:
        """Number of steps."""
        return max(map(len, self.series.values()), default=0)

    @property
    def next_step(self) -> int:
        """Number of updates made by the end of these steps."""
        return self.first_step + self.steps

    def values(self, name: str) -> Floats:
        """Return a series by name, (steps,): NaN where it is absent, but for `data_loss`.

        A source that has no penalties on the weights need not give the loss twice.
        """
        values = self.series.get(name)
        if values is None and name == "data_loss":
            values = self.series.get("loss")
        return np.full(self.steps, np.nan) if values is None else values

    @property
    def loss(self) -> Floats:
        """Training loss of each step, with penalties."""
        return self.values("loss")

    @property
    def data_loss(self) -> Floats:
        """Training loss of each step, without penalties."""
        return self.values("data_loss")

    @property
    def accuracy(self) -> Floats:
        """Accuracy on the batch of each step."""
        return self.values("accuracy")

    @property
    def learning_rate(self) -> Floats:
        """Learning rate of each step, as the schedule made it."""
        return self.values("learning_rate")


@dataclass(frozen=True, slots=True)
class Frame(NamedSeries):
    """What happened since the last frame: per-step series, and what else was due.

    A source that counts neither seconds nor epochs leaves them out.
    """

    first_step: int  # of the series
    series: Mapping[str, Floats] = field(default_factory=dict)  # equally long; empty: no step made
    time: float = 0.0  # seconds since the run began
    epoch: float = 0.0  # epochs completed, with fraction
    steps_per_second: float = float("nan")
    probe_share: float = float("nan")  # share of the training time that statistics cost, 0…1
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    validations: Sequence[Validation] = ()
    batch_dependence: BatchDependence | None = None
    snapshot: Snapshot | None = None
    events: Sequence[Event] = ()
    status: TrainingStatus | None = None  # from here on, where an event has changed it
    state: RunState = RunState.RUNNING
