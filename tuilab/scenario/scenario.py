"""A validated scenario, and a scenario file with all its runs."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import tomli_w

from engine.activations import Activation
from engine.data.augmentation import Augmentation
from engine.data.dataset import Source
from engine.data.preprocessing import Preprocessor
from engine.errors import unknown_name
from engine.initializers import Initializer, initializers
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.losses import Loss
from engine.network import activation_choices
from engine.optimization.optimizers import Optimizer
from engine.optimization.schedules import Schedule
from tuilab.claims.expectations import Expectation
from tuilab.diagnosis import Diagnosis
from tuilab.errors import ScenarioError
from tuilab.scenario.file_format import DataSection, Header, TrainSection
from tuilab.scenario.search.settings import Search
from tuilab.toml_structs import Table


class Scenario(msgspec.Struct, frozen=True):
    """One run: every name resolved, every value checked."""

    name: str
    header: Header
    data: DataSection
    source: Source
    preprocess: tuple[Preprocessor, ...]
    augment: tuple[Augmentation, ...]
    hidden: tuple[int, ...]
    layers: tuple[Layer, ...]  # from the [[layer]] tables; `hidden` is empty then
    activation: Activation | Layer
    initializer: Initializer
    bias: float
    batch_norm: BatchNorm | bool
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    train: TrainSection
    expect: tuple[Expectation, ...]
    diagnosis: Diagnosis
    search: Search | None
    table: Table  # the file as read, with all overrides
    variant: str = ""  # which run of a comparison it is
    origin: str = ""  # path of the file as the user gave it; "" without a file

    @property
    def seed(self) -> int:
        return self.header.seed

    @property
    def depth(self) -> int:
        """Number of hidden layers, as metrics count them."""
        return sum(layer.weighted for layer in self.layers) or len(self.hidden)

    @property
    def snapshot_steps(self) -> set[int]:
        """Steps whose statistics are always recorded."""
        return {*self.train.snapshots, *(step for e in self.expect for step in e.steps())}

    def with_snapshots(self, steps: Iterable[int]) -> "Scenario":
        """Return the same scenario that records the statistics of `steps` as well."""
        snapshots = sorted({*self.train.snapshots, *steps})
        if not snapshots:
            return self
        table = self.table | {"train": self.table["train"] | {"snapshots": snapshots}}
        train = msgspec.structs.replace(self.train, snapshots=tuple(snapshots))
        return msgspec.structs.replace(self, train=train, table=table)

    @property
    def activation_name(self) -> str:
        """Name of the non-linearity: "relu", "maxout"."""
        return activation_choices().name_of(self.activation)

    @property
    def normalized(self) -> bool:
        """Whether batch normalisation sets the spread of each layer at the start."""
        norm = self.batch_norm
        return norm if isinstance(norm, bool) else norm.start != "identity"

    @property
    def initializer_text(self) -> str:
        """The initialiser for people: "xavier", "normal 0.01"."""
        settings = msgspec.to_builtins(self.initializer).values()
        return " ".join([initializers.name_of(self.initializer), *(f"{v:g}" for v in settings)])

    def to_toml(self) -> str:
        """Return the scenario as the text of an equivalent file."""
        return tomli_w.dumps(self.table)


class ScenarioFile(msgspec.Struct, frozen=True):
    """The runs of a file: one, or the variants of a comparison and the claims about several.

    The only run of a file without [[variant]] tables has the name "".
    """

    path: Path
    runs: dict[str, Scenario]
    expect: tuple[Expectation, ...] = ()  # over several runs; those about one belong to it

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def header(self) -> Header:
        """The keys before the first table, as the first run has them."""
        return next(iter(self.runs.values())).header

    def expectations_toml(self) -> str:
        """Return the expectations over several runs as TOML tables."""
        return tomli_w.dumps({"expect": [msgspec.to_builtins(claim) for claim in self.expect]})

    def only(self, variant: str) -> "ScenarioFile":
        """Return the file reduced to one of its runs. Raises ScenarioError."""
        return ScenarioFile(self.path, {"": self.run(variant)})

    def run(self, variant: str = "") -> Scenario:
        """Return the run of `variant`. Raises ScenarioError."""
        if variant in self.runs:
            return self.runs[variant]
        if "" in self.runs:
            raise ScenarioError(f"{self.path} has no variants, so there is no '{variant}'")
        if not variant:
            names = ", ".join(self.runs)
            raise ScenarioError(
                f"{self.path} compares several runs; choose one: --variant NAME ({names})"
            )
        raise ScenarioError(f"{self.path}: {unknown_name('variant', variant, self.runs)}")
