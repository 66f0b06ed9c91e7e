"""The tables of `run.db`, and what is read back from them."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from engine.statistics.frames import FIELDS, PER_LAYER, Floats, LayerInfo

FORMAT: Final = 4
WITHOUT_UNITS: Final = 3  # the format before; it is read as well

SCHEMA: Final = f"""
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE block (
    id INTEGER PRIMARY KEY, first_step INTEGER NOT NULL, time REAL NOT NULL, epoch REAL NOT NULL,
    steps_per_second REAL, probe_share REAL,
    loss BLOB NOT NULL, data_loss BLOB, accuracy BLOB NOT NULL, learning_rate BLOB NOT NULL);
CREATE TABLE validation (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, epoch REAL NOT NULL, loss REAL, accuracy REAL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL UNIQUE, epoch REAL NOT NULL,
    gain_forward REAL, gain_backward REAL, kept INTEGER NOT NULL);
CREATE TABLE tensor (
    snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
    layer INTEGER NOT NULL, tensor TEXT NOT NULL,
    {", ".join(f'"{name}" REAL' for name in FIELDS)},
    low REAL, high REAL, histogram BLOB NOT NULL,
    {", ".join(f"{name} REAL" for name in PER_LAYER)},
    PRIMARY KEY (snapshot, layer, tensor)) WITHOUT ROWID;
CREATE TABLE units (
    snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE, layer INTEGER NOT NULL,
    mean BLOB NOT NULL, active BLOB, saturated BLOB, dead BLOB,
    PRIMARY KEY (snapshot, layer)) WITHOUT ROWID;
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, file TEXT NOT NULL, last_event INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
"""


class Fork(msgspec.Struct, frozen=True):
    """Where a run branched off another, and with which hyper-parameters changed."""

    parent: str  # name of its run folder
    step: int  # that both have in common
    changes: dict[str, float] = {}

    def __str__(self) -> str:
        changed = ", ".join(f"{key} {value:g}" for key, value in self.changes.items())
        return f"forked from {self.parent} at step {self.step:,}" + f" with {changed}" * bool(
            changed
        )

    @property
    def label(self) -> str:
        """What it is called beside its parent: "fork@1200 lr 0.1"."""
        short = {"learning_rate": "lr", "weight_decay": "λ"}
        changed = [f"{short.get(key, key)} {value:g}" for key, value in self.changes.items()]
        return " ".join([f"fork@{self.step}", *changed])


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained and how it stands; keys that are not known yet have their defaults."""

    scenario: str = ""  # name of the scenario file, without its ending
    variant: str = ""  # of a comparison
    title: str = ""
    question: str = ""
    lecture: str = ""
    look_at: str = ""  # on the screen, in a sentence or two
    seed: int = 0
    data: str = ""  # "gaussian 1000×500"
    backend: str = ""
    device: str = ""
    software: str = ""  # what computed it, to the last bit: "numpy 2.4.6, kernels 1b4d90be"
    dtype: str = ""
    threads: int = 0
    activation: str = ""
    initializer: str = ""
    batch_norm: bool = False
    own_layers: bool = False  # written in [[layer]] tables
    schedule: str = ""  # of the learning rate: "cosine"
    parameters: int = 0
    layers: tuple[LayerInfo, ...] = ()  # hidden layers from 1, the output layer last
    pixels: tuple[int, int, int] | None = (
        None  # (channels, height, width) of inputs, plane by plane
    )
    input_std: float = 0.0  # of the training inputs after preprocessing
    inputs: dict[str, dict[str, Any]] = {}  # "train", "validation": InputStatistics
    batch_dependence: tuple[dict[str, float | None], ...] = ()  # BatchDependence; None is NaN
    classes: int = 0
    batch_size: int = 0
    samples: tuple[int, int] = (0, 0)  # training, validation
    total_steps: int = 0
    steps_per_epoch: int = 0
    hyperparameters: dict[str, float] = {}  # as they stand now
    speed_limit: float = 0.0  # steps a second at most; 0: none
    step: int = 0  # updates made
    state: str = "starting"  # starting|running|paused|finished|diverged|stopped|failed
    phase: str = ""  # while starting: "loading data", "binding", "step 0"
    message: str = ""  # why it failed or diverged
    created: float = 0.0  # Unix time
    pid: int = 0
    socket: str = ""
    options: dict[str, str] = {}  # how the worker was started: backend, data_dir, threads
    restarted_from: str = ""
    fork: Fork | None = None
    resumed: int = 0  # how often it went on from a checkpoint, forgetting what came after it
    version: str = ""

    @property
    def ended(self) -> bool:
        """Tell whether the worker wrote a last word."""
        return self.state in ("finished", "diverged", "stopped", "failed")


@dataclass(frozen=True, slots=True)
class Block:
    """The per-step series of one frame, as read back."""

    id: int
    first_step: int
    time: float
    epoch: float
    steps_per_second: float
    probe_share: float
    loss: Floats
    data_loss: Floats
    accuracy: Floats
    learning_rate: Floats

    @property
    def next_step(self) -> int:
        """Number of updates made by the end of this block."""
        return self.first_step + len(self.loss)


@dataclass(frozen=True, slots=True)
class History:
    """One tensor of one layer over the recorded snapshots, oldest first."""

    steps: Floats  # (n,)
    mean: Floats  # (n,)
    std: Floats  # (n,)
    min: Floats  # (n,)
    max: Floats  # (n,)
    zero_fraction: Floats  # (n,)
    ranges: Floats  # (n, 2): of the bins
    histograms: Floats  # (n, 1 + BINS + 1)


@dataclass(frozen=True, slots=True)
class LayerTraces:
    """Two numbers of each layer over recorded snapshots, oldest first."""

    steps: Floats  # (n,)
    update_ratio: Floats  # (layers, n): ‖ΔW‖ / ‖W‖
    gradient_norm: Floats  # (layers, n): ‖dL/dW‖
