"""Changes of what is trained, made by a command between two steps.

A change is a function from one TrainingConfig to another; the trainer binds the new one and takes
over everything that still fits. Checkpoints and recorded runs contain the commands, so that a run
can be brought to the same configuration again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import chain
from typing import Any, Final, TypeVar

from engine.activations import Activation
from engine.commands import ChangeKind, Command
from engine.errors import CheckpointError, ConfigError, TuilabError, UnknownNameError, require
from engine.initializers import Initializer, initializers
from engine.layers.base import Layer
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.layers.residual import Residual
from engine.network import Network, activation_choices
from engine.optimization.schedules import Constant, schedules
from engine.registry import Registry
from engine.training.training_config import TrainingConfig

T = TypeVar("T")
Apply = Callable[[TrainingConfig, Command, int, int], TrainingConfig]
INSERT, REMOVE = "insert", "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of change: (config, command, step, training examples) → config from that step on."""

    apply: Apply
    draws: bool = False  # the parameters of the layers that it names are drawn again


CHANGES: Final[dict[str, Change]] = {}


def change(kind: ChangeKind, *, draws: bool = False) -> Callable[[Apply], Apply]:
    """Return a decorator that registers a function in CHANGES."""

    def register(apply: Apply) -> Apply:
        CHANGES[kind] = Change(apply, draws)
        return apply

    return register


def changed(config: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Return `config` as changed by `command`. Raises ConfigError, ShapeError."""
    kind = CHANGES[command.kind]
    new = kind.apply(config, command, step, examples)
    if new == config and not kind.draws:
        raise ConfigError("nothing would change: it is already set", command.kind)
    return new


def replayed(
    config: TrainingConfig, changes: Sequence[Mapping[str, Any]], examples: int
) -> TrainingConfig:
    """Return `config` after recorded changes. Raises CheckpointError if one cannot be applied."""
    for recorded in changes:
        values = {name: value for name, value in recorded.items() if name != "step"}
        try:
            config = changed(config, Command(**values), recorded["step"], examples)
        except (TuilabError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint belongs to another run: it has a change that cannot be made here "
                f"({recorded}): {error}"
            ) from None
    return config


def event_detail(old: TrainingConfig, new: TrainingConfig) -> dict[str, object]:
    """Return what the event of a change records besides the command: the previous values."""
    detail: dict[str, object] = {}
    if old.batch_size != new.batch_size:
        detail["previous"] = old.batch_size
    if old.schedule != new.schedule:
        detail["previous"] = schedules.name_of(old.schedule)
    return detail | {"rebuilt": old.network != new.network}


def redrawn_layers(config: TrainingConfig, command: Command) -> frozenset[int]:
    """Return the layers, from 1, whose parameters `command` draws again."""
    draws = CHANGES[command.kind].draws
    return frozenset(_targets(config, command, output=True)) if draws else frozenset()


@change("batch_size")
def _batch_size(
    config: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Use batches of `value` examples, and begin a new epoch: the current one ends here."""
    whole = float(command.value).is_integer()
    require(whole, "batch_size", f"must be a whole number, is {command.value}")
    if command.value == config.batch_size:
        return config
    begun = -(-(step - config.epoch_start) // (examples // config.batch_size))
    return replace(
        config,
        batch_size=int(command.value),
        epoch_start=step,
        epochs_before=config.epochs_before + begun,
    )


@change("schedule")
def _schedule(config: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Use another schedule, from here to the end as if training began here."""
    schedule = _member(schedules, command)
    if schedule == config.schedule == Constant():  # unlike it, any other schedule starts over here
        return config
    return replace(config, schedule=schedule, schedule_start=step)


@change("freeze")
def _freeze(config: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Stop the updates of a layer: of its weights, biases, γ, β."""
    return replace(config, frozen=config.frozen | {*_targets(config, command, output=True)})


@change("unfreeze")
def _unfreeze(config: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Update a layer again."""
    return replace(config, frozen=config.frozen - {*_targets(config, command, output=True)})


@change("reinitialize", draws=True)
def _reinitialize(
    config: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Draw the weights by another rule; the layer's other parameters get their first values."""
    initializer = _member(initializers, command)

    def edit(row: list[Layer], index: int) -> list[Layer]:
        return [_initialized(layer, initializer) for layer in row]

    return _edited(config, _targets(config, command, output=True), edit)


def _initialized(layer: Layer, initializer: Initializer) -> Layer:
    """Return a layer, and those inside it, with another rule for drawing its weights."""
    if isinstance(layer, Residual):
        return replace(layer, layers=[_initialized(inner, initializer) for inner in layer.layers])
    if any(field.name == "initializer" for field in fields(layer)):
        return replace(layer, initializer=initializer)  # type: ignore[call-arg]
    return layer


@change("activation")
def _activation(
    config: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Use another non-linearity."""
    chosen = _member(activation_choices(), command)
    new = Nonlinearity(chosen) if isinstance(chosen, Activation) else chosen
    return _edited(
        config, _targets(config, command), lambda row, index: _with_activation(row, new, index)
    )


def _with_activation(row: list[Layer], new: Layer, index: int) -> list[Layer]:
    """Put `new` in the place of a row's non-linearity, or after its weights and normalisation."""
    kinds = [layer.activates or isinstance(layer, Nonlinearity) for layer in row]
    places = [at for at, activates in enumerate(kinds) if activates]
    if not places and isinstance(row[0], Residual):
        raise ConfigError(f"layer {index} is a residual block: its non-linearities are inside it")
    normalized = [at for at, layer in enumerate(row) if layer.normalizes]
    begin, end = (places[-1], places[-1] + 1) if places else (max([0, *normalized]) + 1,) * 2
    before = row[begin].inputs_per_unit if places else 1
    first = row[0]
    if new.inputs_per_unit != before and isinstance(first, Linear):
        first = replace(first, units=first.units // before * new.inputs_per_unit)
    return [first, *row[1:begin], new, *row[end:]]


@change("batch_norm")
def _batch_norm(
    config: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Insert batch normalisation right after the weights, or remove it."""
    if command.name not in (INSERT, REMOVE):
        raise UnknownNameError("change", command.name, (INSERT, REMOVE), "batch_norm")

    def edit(row: list[Layer], index: int) -> list[Layer]:
        if command.name == REMOVE:
            return [layer for layer in row if not isinstance(layer, BatchNorm)]
        has_one = any(isinstance(layer, BatchNorm) for layer in row)
        return row if has_one else [row[0], BatchNorm(), *row[1:]]

    return _edited(config, _targets(config, command), edit)


def _targets(config: TrainingConfig, command: Command, *, output: bool = False) -> list[int]:
    """Return the layers that a command names; the output layer is allowed only if `output`."""
    last = len(config.network.rows) - 1
    if command.layer == 0 and last > 1:
        return list(range(1, last))
    require(1 <= command.layer <= last, "layer", f"must be 1 … {last}, is {command.layer}")
    require(
        output or command.layer < last, "layer", f"{last} is the output layer, which gives scores"
    )
    return [command.layer]


def _edited(
    config: TrainingConfig, layers: list[int], edit: Callable[[list[Layer], int], list[Layer]]
) -> TrainingConfig:
    """Return `config` with the rows of these layers edited: edit(row, index) → row."""
    rows = config.network.rows
    for index in layers:
        rows[index] = edit(rows[index], index)
    edited = [*chain.from_iterable(rows)]
    same = edited == [*config.network.layers]
    return config if same else replace(config, network=Network(edited))


def _member(registry: Registry[T], command: Command) -> T:
    """Return the member that a command names, with its settings. Raises ConfigError."""
    member = registry[command.name]
    types = {
        setting.name: type(setting.default)
        for setting in fields(member)  # type: ignore[arg-type]
        if setting.default is not MISSING
    }
    for key, value in command.settings.items():
        type_ = types.get(key)
        fits = type(value) is type_ or (type_ is float and type(value) is int)
        require(type_ is None or fits, key, f"must be {type_ and type_.__name__}, is {value!r}")
    return registry.build(command.name, **command.settings)
