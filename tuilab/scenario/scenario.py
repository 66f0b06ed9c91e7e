"""Scenario files: TOML → validated, frozen structs → engine objects.

The only place that knows the file format. A file that cannot be used raises ScenarioError, which
names the file, the line, the key path, what was found and what is allowed.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import tomli_w
from msgspec import Meta

from engine.activations import Activation
from engine.backends.base import Backend
from engine.data.augmentation import Augmentation, augmentations
from engine.data.dataset import Dataset, Source, prepare, sources
from engine.data.preprocessing import Preprocessor, preprocessors
from engine.errors import ConfigError, TuilabError, require, unknown_name
from engine.initializers import Initializer, initializers
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.losses import Loss, losses
from engine.network import Network, activation_choices, mlp
from engine.optimization.optimizers import Optimizer, optimizers
from engine.optimization.schedules import Schedule, schedules
from engine.registry import Registry
from engine.training.random_streams import stream
from engine.training.trainer import Trainer
from tuilab.claims.expectations import Expectation
from tuilab.diagnosis import Diagnosis
from tuilab.diagnosis.settings import parse as diagnosis
from tuilab.diagnosis.settings import spread
from tuilab.errors import ScenarioError
from tuilab.scenario.layer_tables import complete, row
from tuilab.scenario.overrides import assign
from tuilab.scenario.search.settings import Search
from tuilab.scenario.search.settings import parse as search
from tuilab.scenario.variants import compares, resolve
from tuilab.toml_structs import (
    Table,
    anchor,
    check_keys,
    convert,
    field_names,
    located,
    member,
    read,
    shown,
)

T = TypeVar("T")
Positive = Annotated[int, Meta(ge=1, le=10**12)]
Units = Annotated[int, Meta(ge=1, le=10**7)]  # more would be a slip, and fit in no memory


class Hidden(msgspec.Struct, frozen=True):
    """`depth` hidden layers of `width` units each."""

    depth: Annotated[int, Meta(ge=1, le=10**4)]
    width: Units


class DataSection(msgspec.Struct, frozen=True):
    """[data]: the keys that every source has; the others are the source's own."""

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
    """Steps whose statistics are recorded in any case."""


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


class Scenario(msgspec.Struct, frozen=True):
    """A scenario as read: every name resolved, every value checked."""

    name: str
    header: Header
    data: DataSection
    source: Source
    preprocess: tuple[Preprocessor, ...]
    augment: tuple[Augmentation, ...]
    hidden: tuple[int, ...]
    layers: tuple[Layer, ...]  # of the [[layer]] tables; `hidden` is empty then
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
    table: Table  # the file as read, with what was set from outside
    variant: str = ""  # which run of a comparison it is
    origin: str = ""  # path of the file as it was named; "" when it came from none

    @property
    def seed(self) -> int:
        return self.header.seed

    @property
    def depth(self) -> int:
        """Number of hidden layers, as metrics count them."""
        return sum(layer.weighted for layer in self.layers) or len(self.hidden)

    @property
    def snapshot_steps(self) -> set[int]:
        """Steps whose statistics are wanted in any case."""
        return {*self.train.snapshots, *(step for e in self.expect for step in e.steps())}

    def with_snapshots(self, steps: Iterable[int]) -> "Scenario":
        """Return the same scenario, with the statistics of these steps as well."""
        wanted = sorted({*self.train.snapshots, *steps})
        if not wanted:
            return self
        table = self.table | {"train": self.table["train"] | {"snapshots": wanted}}
        train = msgspec.structs.replace(self.train, snapshots=tuple(wanted))
        return msgspec.structs.replace(self, train=train, table=table)

    @property
    def activation_name(self) -> str:
        """The name of the non-linearity: "relu", "maxout"."""
        return activation_choices().name_of(self.activation)

    @property
    def normalized(self) -> bool:
        """Whether batch normalisation sets the spread of each layer when it starts."""
        norm = self.batch_norm
        return norm if isinstance(norm, bool) else norm.start != "identity"

    @property
    def initializer_text(self) -> str:
        """The initialiser as one would say it: "xavier", "normal 0.01"."""
        settings = msgspec.to_builtins(self.initializer).values()
        return " ".join([initializers.name_of(self.initializer), *(f"{v:g}" for v in settings)])

    def to_toml(self) -> str:
        """Return the scenario as a file that says the same."""
        return tomli_w.dumps(self.table)


class ScenarioFile(msgspec.Struct, frozen=True):
    """What a file says: one run, or the variants of a comparison and what is expected of several.

    The only run of a file without [[variant]] tables has the name "".
    """

    path: Path
    runs: dict[str, Scenario]
    expect: tuple[Expectation, ...] = ()  # over several runs; those of one are its own

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def header(self) -> Header:
        """What stands before the first table, as the first run has it."""
        return next(iter(self.runs.values())).header

    def expectations_toml(self) -> str:
        """Return what is expected over several runs as tables of a file."""
        return tomli_w.dumps({"expect": [msgspec.to_builtins(each) for each in self.expect]})

    def only(self, variant: str) -> "ScenarioFile":
        """Return the file as if it said one run and no more. Raises ScenarioError."""
        return ScenarioFile(self.path, {"": self.run(variant)})

    def run(self, variant: str = "") -> Scenario:
        """Return the run of `variant`. Raises ScenarioError."""
        if variant in self.runs:
            return self.runs[variant]
        if "" in self.runs:
            raise ScenarioError(f"{self.path} compares no variants: there is no '{variant}'")
        if not variant:
            names = ", ".join(self.runs)
            raise ScenarioError(
                f"{self.path} compares several runs; choose one: --variant NAME ({names})"
            )
        raise ScenarioError(f"{self.path}: {unknown_name('variant', variant, self.runs)}")


def load(path: Path, sets: Sequence[str] = (), variant: str = "") -> Scenario:
    """Read the scenario at `path`, with the `--set` assignments applied. Raises ScenarioError.

    `variant` says which run is meant of a file that compares several.
    """
    return load_file(path, sets).run(variant)


def load_file(path: Path, sets: Sequence[str] = ()) -> ScenarioFile:
    """Read a scenario file with all its runs. Raises ScenarioError."""
    text = read(path)
    try:
        table = tomllib.loads(text)
        if "variant" in table:
            return _compared(table, path, sets)
        for assignment in sets:
            assign(table, assignment)
        return ScenarioFile(path, {"": _run(table, path)})
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: nested too deeply") from None
    except ConfigError as error:
        raise located(path, text, error, sets) from None


def load_expectations(path: Path, depths: Mapping[str, int]) -> tuple[Expectation, ...]:
    """Read what is expected over several runs, as it was kept beside them. Raises ScenarioError.

    `depths` are the numbers of hidden layers, by variant.
    """
    text = read(path)
    try:
        entries = _list_of_tables(tomllib.loads(text).get("expect", []))
        return tuple(
            Expectation.parse(entry, f"expect[{index}]", 0, depths)
            for index, entry in enumerate(entries)
        )
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not valid TOML: {error}") from None
    except ConfigError as error:
        raise located(path, text, error, ()) from None


def _compared(table: Table, path: Path, sets: Sequence[str]) -> ScenarioFile:
    keys = [*field_names(Header), *SECTIONS]
    check_keys(table, [*keys, "variant"], "", "key")
    require("search" not in table, "search", "goes without [[variant]]: name it in [search.space]")
    runs = {}
    for variant in resolve(table, keys, sets):
        try:
            run = _run(variant.table, path)
        except ConfigError as error:
            raise variant.told(error) from None
        runs[variant.name] = msgspec.structs.replace(run, variant=variant.name)
    depths = {name: run.depth for name, run in runs.items()}
    over_several = tuple(
        Expectation.parse(entry, f"expect[{index}]", 0, depths)
        for index, entry in enumerate(table.get("expect", ()))
        if compares(entry)
    )
    for name, run in runs.items():
        steps = {step for each in over_several for step in each.steps(name)}
        runs[name] = run.with_snapshots(steps)
    return ScenarioFile(path, runs, over_several)


def _run(table: Table, path: Path) -> Scenario:
    anchor(table.get("data"), sources, path.parent)
    return msgspec.structs.replace(parse(table, path.stem), origin=str(path))


def parse(table: Table, name: str) -> Scenario:
    """Validate a whole scenario table. Raises ConfigError with the key path."""
    check_keys(table, [*field_names(Header), *SECTIONS], "", "key")
    if "layer" in table:
        table.setdefault("network", {})
    for section in ("data", "network", "train"):
        require(section in table, section, f"the table [{section}] is missing")
        found = table[section]
        require(isinstance(found, dict), section, f"must be a table, is {shown(found)}")
    data, source = _data(table["data"])
    if isinstance(inner := table["network"].get("hidden"), dict):
        check_keys(inner, field_names(Hidden), "network.hidden", "key")
    network: NetworkSection = convert(table["network"], NetworkSection, "network")
    hidden = network.hidden
    if isinstance(hidden, Hidden):
        hidden = (hidden.width,) * hidden.depth
    layers = row(table["layer"], "layer") if "layer" in table else ()
    _check_layers(table, layers)
    depth = sum(layer.weighted for layer in layers) or len(hidden)
    require(math.isfinite(network.bias), "network.bias", f"must be finite, is {network.bias}")
    train: TrainSection = convert(table["train"], TrainSection, "train")
    given = [key for key in ("epochs", "steps") if key in table["train"]]
    require(len(given) == 1, "train", f"give either epochs or steps, found {given or 'neither'}")
    return Scenario(
        name=name,
        header=convert({k: v for k, v in table.items() if k not in SECTIONS}, Header, ""),
        data=data,
        source=source,
        preprocess=_members(preprocessors, data.preprocess, "data.preprocess"),
        augment=_members(augmentations, data.augment, "data.augment"),
        hidden=hidden,
        layers=layers,
        activation=member(activation_choices(), network.activation, "network.activation"),
        initializer=member(initializers, network.initializer, "network.initializer"),
        bias=network.bias,
        batch_norm=_batch_norm(network.batch_norm),
        loss=member(losses, table.get("loss", "softmax_cross_entropy"), "loss"),
        optimizer=member(optimizers, table.get("optimizer", "sgd"), "optimizer"),
        schedule=member(schedules, table.get("schedule", "constant"), "schedule"),
        train=train,
        expect=tuple(
            Expectation.parse(entry, f"expect[{index}]", depth)
            for index, entry in enumerate(_list_of_tables(table.get("expect", [])))
        ),
        diagnosis=diagnosis(table.get("diagnosis", {}), "diagnosis"),
        search=search(table["search"], "search", depth) if "search" in table else None,
        table=table,
    )


def _batch_norm(given: Any) -> BatchNorm | bool:
    path = "network.batch_norm"
    if isinstance(given, dict):
        return convert(given, BatchNorm, path)
    require(isinstance(given, bool), path, f"expected 'bool' or a table, got {shown(given)}")
    return bool(given)


def _check_layers(table: Table, layers: Sequence[Layer]) -> None:
    given = table["network"]
    if not layers:
        require("hidden" in given, "network", "give hidden layers: network.hidden, or [[layer]]")
    for key in ("hidden", "activation", "batch_norm"):
        where = f"network.{key}"
        require(
            not layers or key not in given, where, "goes without [[layer]] tables, which say it"
        )
    require(
        not layers or any(layer.weighted for layer in layers),
        "layer",
        "no [[layer]] has weights, such as linear or conv2d",
    )


def _list_of_tables(value: Any) -> Iterable[Table]:
    require(
        isinstance(value, list) and all(isinstance(entry, dict) for entry in value),
        "expect",
        "write each expectation as a table [[expect]]",
    )
    return list(value)


def _members(registry: Registry[T], entries: Iterable[Any], path: str) -> tuple[T, ...]:
    return tuple(member(registry, entry, f"{path}[{at}]") for at, entry in enumerate(entries))


def _data(table: Table) -> tuple[DataSection, Source]:
    common = field_names(DataSection)
    own = {key: value for key, value in table.items() if key not in common}
    section: DataSection = convert(
        {key: value for key, value in table.items() if key in common}, DataSection, "data"
    )
    try:
        cls = sources[section.source]
    except ConfigError as error:
        raise error.under("data.source") from None
    allowed = [*common, *field_names(cls)]
    check_keys(own, allowed, "data", f"key of data source '{section.source}'")
    return section, convert(own, cls, "data")


def load_data(scenario: Scenario, directory: Path | None) -> Dataset:
    """Load, split and preprocess the data of `scenario`. Raises DataError or ConfigError."""
    try:
        loaded = scenario.source.load(generator=stream(scenario.seed, "data"), directory=directory)
        return prepare(
            loaded,
            validation=scenario.data.validation,
            preprocess=scenario.preprocess,
            generator=stream(scenario.seed, "split"),
        )
    except ConfigError as error:
        raise error.under("data") from None
    except MemoryError as error:
        raise ConfigError(f"does not fit into memory: {error}", "data") from None


def build_network(scenario: Scenario, data: Dataset) -> Network:
    """Make the network of `scenario` for `data`. Raises ShapeError."""
    if scenario.layers:
        return complete(scenario.layers, data, scenario.initializer)
    return mlp(
        scenario.hidden,
        len(data.classes),
        activation=scenario.activation,
        initializer=scenario.initializer,
        bias=scenario.bias,
        batch_norm=scenario.batch_norm,
    )


def _looks(scenario: Scenario, data: Dataset) -> set[int]:
    """Return the steps whose statistics the diagnosis wants."""
    if not scenario.diagnosis.rules:
        return set()
    size, train = scenario.data.batch_size, scenario.train
    batches = 1 if size == "all" else max(len(data.train) // size, 1)
    return spread(train.steps or (train.epochs or 0) * batches)


def build_trainer(
    scenario: Scenario, data: Dataset, backend: Backend, *, probes: bool = True
) -> Trainer:
    """Bind network and data of `scenario` into a trainer. Raises ConfigError, ShapeError."""
    size = scenario.data.batch_size
    try:
        return Trainer(
            build_network(scenario, data),
            data,
            loss=scenario.loss,
            optimizer=scenario.optimizer,
            schedule=scenario.schedule,
            batch_size=None if size == "all" else size,
            epochs=scenario.train.epochs,
            steps=scenario.train.steps,
            seed=scenario.seed,
            backend=backend,
            probes=probes,
            snapshot_at=scenario.snapshot_steps | _looks(scenario, data),
            augment=scenario.augment,
        )
    except ConfigError as error:
        if error.path == "schedule":
            raise
        of_data = error.path.startswith(("batch_size", "augment"))
        raise error.under("data" if of_data else "train") from None
    except MemoryError as error:
        raise ConfigError(f"does not fit into memory: {error}", "network") from None
    except TuilabError as error:
        raise type(error)(f"the network of {scenario.name}: {error}") from None
