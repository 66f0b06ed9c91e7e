"""What is known of a run, in parts: a source writes each part whole, readers see all in one.

    writer.describe(ScenarioInfo(title="…", seed=1), Status(state=RunState.RUNNING))
    reader.info().title

The parts are frozen dataclasses with defaults for everything, and `RunInfo` inherits from all of
them: a run of an older version, or of a source that has no scenario, lacks nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, TypeAlias, TypeVar

import msgspec

from engine.commands import KINDS
from engine.states import RunState
from engine.statistics.frames import LayerInfo, TrainingStatus

OWN_SOURCE = "scenario"


class Fork(msgspec.Struct, frozen=True):
    """Where a run branched off another, and with which hyper-parameters changed."""

    parent: str  # name of its run folder
    step: int  # that both have in common
    changes: dict[str, float] = {}

    def __str__(self) -> str:
        changed = ", ".join(f"{key} {value:g}" for key, value in self.changes.items())
        origin = f"forked from {self.parent} at step {self.step:,}"
        return f"{origin} with {changed}" if changed else origin

    @property
    def label(self) -> str:
        """Its name beside its parent: "fork@1200 lr 0.1"."""
        short = {"learning_rate": "lr", "weight_decay": "λ"}
        changed = [f"{short.get(key, key)} {value:g}" for key, value in self.changes.items()]
        return " ".join([f"fork@{self.step}", *changed])


@dataclass(frozen=True, kw_only=True)
class Source:
    """Who trains, and which commands that takes."""

    source: str = OWN_SOURCE  # "scenario", or the name of another program or adapter
    capabilities: tuple[str, ...] = KINDS  # kinds of commands that it takes
    settable: tuple[str, ...] | None = None  # hyper-parameters that "set" takes; None: all
    rank: int = 0  # of this process in a distributed training

    def can(self, kind: str, key: str = "") -> bool:
        """Return whether the source takes commands of a kind, for a hyper-parameter `key`."""
        return kind in self.capabilities and (
            not key or self.settable is None or key in self.settable
        )


@dataclass(frozen=True, kw_only=True)
class ScenarioInfo:
    """What the run is about."""

    scenario: str = ""  # name of the scenario file, without its ending
    variant: str = ""  # of a comparison
    title: str = ""
    question: str = ""
    lecture: str = ""
    look_at: str = ""  # on the screen, in a sentence or two
    seed: int = 0
    version: str = ""  # of the program that recorded it


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """How the network was specified; its layers are part of `TrainingStatus`."""

    activation: str = ""
    initializer: str = ""
    batch_norm: bool = False
    own_layers: bool = False  # written in [[layer]] tables


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What the network is trained on."""

    data: str = ""  # "gaussian 1000×500"
    classes: int = 0
    samples: tuple[int, int] = (0, 0)  # training, validation
    pixels: tuple[int, int, int] | None = None  # (channels, height, width), plane by plane
    input_std: float = 0.0  # of the training inputs after preprocessing
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Statistics of the inputs of "train" and "validation": `InputStatistics`."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What computes the run."""

    backend: str = ""
    device: str = ""
    software: str = ""  # what computed it, to the last bit: "numpy 2.4.6, kernels 1b4d90be"
    dtype: str = ""


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """How the training process was started."""

    options: Mapping[str, str] = field(default_factory=dict)  # backend, data_dir, threads
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Process:
    """The training process, and where it takes commands."""

    pid: int = 0
    socket: str = ""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """When the run began, and from what."""

    created: float = 0.0  # Unix time
    restarted_from: str = ""
    fork: Fork | None = None
    resumed: int = 0  # how often it was resumed from a checkpoint, discarding what came after it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How far the run is to go."""

    total_steps: int = 0  # 0: not known


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of the run, and why it ended."""

    state: RunState = RunState.STARTING
    phase: str = ""  # while starting: "loading data", "binding", "step 0"
    message: str = ""  # why it failed or diverged

    @property
    def ended(self) -> bool:
        """Whether the training process recorded that the run is over."""
        return self.state.ended


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the run is, and what was measured on the way."""

    step: int = 0  # updates made
    hyperparameters: Mapping[str, float] = field(default_factory=dict)  # current values
    batch_dependence: tuple[Mapping[str, float | None], ...] = ()  # BatchDependence; None is NaN


@dataclass(frozen=True, kw_only=True)
class RunInfo(
    Source,
    ScenarioInfo,
    NetworkInfo,
    DataInfo,
    Compute,
    StartOptions,
    Process,
    Origin,
    Plan,
    Status,
    Progress,
    TrainingStatus,
):
    """Everything that is known of a run."""

    layers: tuple[LayerInfo, ...] = ()  # hidden layers first, output layers last


Part: TypeAlias = (
    Source
    | ScenarioInfo
    | NetworkInfo
    | DataInfo
    | Compute
    | StartOptions
    | Process
    | Origin
    | Plan
    | Status
    | Progress
    | TrainingStatus
)
P = TypeVar("P", bound=Part)


def part_of(info: RunInfo, kind: type[P]) -> P:
    """Return one part of what is known, for instance to write it with a field replaced."""
    return kind(**{name.name: getattr(info, name.name) for name in fields(kind)})


def parse_info(values: Mapping[str, Any], layers: tuple[LayerInfo, ...]) -> RunInfo:
    """Return the run info in plain `values` by key; others are ignored. Raises MsgspecError."""
    info = msgspec.convert({key: values[key] for key in values if key != "layers"}, RunInfo)
    return dataclasses.replace(info, layers=layers)


def parse_layer(values: Mapping[str, Any]) -> LayerInfo:
    """Return the layer that was written as JSON, which has no infinity. Raises MsgspecError."""
    if values.get("saturated"):
        low, high = values["saturated"]
        ends = -inf if low is None else low, inf if high is None else high
        values = {**values, "saturated": ends}
    return msgspec.convert(values, LayerInfo)
