"""Changes of what is trained, made by a command between two steps.

Each is a function from a setup to another one; the trainer then binds that anew and takes over
everything that still fits. A checkpoint and a recorded run keep the commands, so that a run can be
brought to the same setup again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import chain
from typing import Any, Final, TypeVar

from engine.activations import Activation
from engine.commands import ChangeKind, Command
from engine.errors import CheckpointError, ConfigError, TuilabError, UnknownNameError, require
from engine.initializers import initializers
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
Make = Callable[[TrainingConfig, Command, int, int], TrainingConfig]
INSERT, REMOVE = "insert", "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of change: (setup, command, step, training examples) → the setup from that step on."""

    make: Make
    draws: bool = False  # the parameters of the layers that it names begin anew


CHANGES: Final[dict[str, Change]] = {}


def change(kind: ChangeKind, *, draws: bool = False) -> Callable[[Make], Make]:
    """Enter a function into CHANGES."""

    def enter(make: Make) -> Make:
        CHANGES[kind] = Change(make, draws)
        return make

    return enter


def changed(setup: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Return what `command` makes of `setup`. Raises ConfigError, ShapeError."""
    kind = CHANGES[command.kind]
    made = kind.make(setup, command, step, examples)
    if made == setup and not kind.draws:
        raise ConfigError("nothing would change, it is so already", command.kind)
    return made


def replayed(
    setup: TrainingConfig, changes: Sequence[Mapping[str, Any]], examples: int
) -> TrainingConfig:
    """Return what recorded changes made of `setup`. Raises CheckpointError where they cannot be."""
    for each in changes:
        said = {name: value for name, value in each.items() if name != "step"}
        try:
            setup = changed(setup, Command(**said), each["step"], examples)
        except (TuilabError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint is of another run: it has a change that cannot be made here "
                f"({each}): {error}"
            ) from None
    return setup


def told(old: TrainingConfig, new: TrainingConfig) -> dict[str, object]:
    """Return what an event tells of a change beside the command: what there was before."""
    found: dict[str, object] = {}
    if old.batch_size != new.batch_size:
        found["previous"] = old.batch_size
    if old.schedule != new.schedule:
        found["previous"] = schedules.name_of(old.schedule)
    return found | {"rebuilt": old.network != new.network}


def layers_anew(setup: TrainingConfig, command: Command) -> frozenset[int]:
    """Return the layers whose parameters `command` draws anew."""
    named = CHANGES[command.kind].draws
    return frozenset(_targets(setup, command, output=True)) if named else frozenset()


@change("batch_size")
def _batch_size(
    setup: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Batches of `value` examples, and with them a new epoch: the one under way ends here."""
    whole = float(command.value).is_integer()
    require(whole, "batch_size", f"must be a whole number, is {command.value}")
    if command.value == setup.batch_size:
        return setup
    begun = -(-(step - setup.epoch_start) // (examples // setup.batch_size))
    return replace(
        setup,
        batch_size=int(command.value),
        epoch_start=step,
        epochs_before=setup.epochs_before + begun,
    )


@change("schedule")
def _schedule(setup: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Another schedule, from here to the end as if training began here."""
    schedule = _member(schedules, command)
    if schedule == setup.schedule == Constant():  # one of the others begins anew
        return setup
    return replace(setup, schedule=schedule, schedule_start=step)


@change("freeze")
def _freeze(setup: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """No more updates of a layer: of its weights, biases, γ, β."""
    return replace(setup, frozen=setup.frozen | {*_targets(setup, command, output=True)})


@change("unfreeze")
def _unfreeze(setup: TrainingConfig, command: Command, step: int, examples: int) -> TrainingConfig:
    """Updates again."""
    return replace(setup, frozen=setup.frozen - {*_targets(setup, command, output=True)})


@change("reinitialize", draws=True)
def _reinitialize(
    setup: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Weights by another rule; the other parameters of the layer begin with it."""
    initializer = _member(initializers, command)

    def edit(row: list[Layer], index: int) -> list[Layer]:
        return [_initialized(layer, initializer) for layer in row]

    return _edited(setup, _targets(setup, command, output=True), edit)


def _initialized(layer: Layer, initializer: Any) -> Layer:
    """Return a layer, and those inside it, with another rule for its weights."""
    if isinstance(layer, Residual):
        return replace(layer, layers=[_initialized(inner, initializer) for inner in layer.layers])
    if any(field.name == "initializer" for field in fields(layer)):
        return replace(layer, initializer=initializer)  # type: ignore[call-arg]
    return layer


@change("activation")
def _activation(
    setup: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Another non-linearity."""
    chosen = _member(activation_choices(), command)
    new = Nonlinearity(chosen) if isinstance(chosen, Activation) else chosen
    return _edited(
        setup, _targets(setup, command), lambda row, index: _with_activation(row, new, index)
    )


def _with_activation(row: list[Layer], new: Layer, index: int) -> list[Layer]:
    """Put `new` in the place of a row's non-linearity, or after its weights and normalisation."""
    places = [at for at, layer in enumerate(row) if _activates(layer)]
    if not places and isinstance(row[0], Residual):
        raise ConfigError(f"layer {index} is a residual block: its non-linearities are inside it")
    normalized = [at for at, layer in enumerate(row) if layer.normalizes]
    begin, end = (places[-1], places[-1] + 1) if places else (max([0, *normalized]) + 1,) * 2
    before = row[begin].inputs_per_unit if places else 1
    first = row[0]
    if new.inputs_per_unit != before and isinstance(first, Linear):
        first = replace(first, units=first.units // before * new.inputs_per_unit)
    return [first, *row[1:begin], new, *row[end:]]


def _activates(layer: Layer) -> bool:
    return isinstance(layer, Nonlinearity) or layer.activates


@change("batch_norm")
def _batch_norm(
    setup: TrainingConfig, command: Command, step: int, examples: int
) -> TrainingConfig:
    """Batch normalisation right after the weights, or none at all."""
    if command.name not in (INSERT, REMOVE):
        raise UnknownNameError("change", command.name, (INSERT, REMOVE), "batch_norm")

    def edit(row: list[Layer], index: int) -> list[Layer]:
        if command.name == REMOVE:
            return [layer for layer in row if not isinstance(layer, BatchNorm)]
        has_one = any(isinstance(layer, BatchNorm) for layer in row)
        return row if has_one else [row[0], BatchNorm(), *row[1:]]

    return _edited(setup, _targets(setup, command), edit)


def _targets(setup: TrainingConfig, command: Command, *, output: bool = False) -> list[int]:
    """Return the layers that a command is about; the output layer only where that is sensible."""
    last = len(setup.network.rows) - 1
    if command.layer == 0 and last > 1:
        return list(range(1, last))
    require(1 <= command.layer <= last, "layer", f"must be 1 … {last}, is {command.layer}")
    require(
        output or command.layer < last, "layer", f"{last} is the output layer, which gives scores"
    )
    return [command.layer]


def _edited(
    setup: TrainingConfig, layers: list[int], edit: Callable[[list[Layer], int], list[Layer]]
) -> TrainingConfig:
    """Return the setup with the rows of these layers edited: edit(row, index) → row."""
    rows = setup.network.rows
    for index in layers:
        rows[index] = edit(rows[index], index)
    edited = [*chain.from_iterable(rows)]
    same = edited == [*setup.network.layers]
    return setup if same else replace(setup, network=Network(edited))


def _member(registry: Registry[T], command: Command) -> T:
    """Make the member that a command names, with its settings. Raises ConfigError."""
    member = registry[command.name]
    types = {
        each.name: type(each.default)
        for each in fields(member)  # type: ignore[arg-type]
        if each.default is not MISSING
    }
    for key, value in command.settings.items():
        wanted = types.get(key)
        good = type(value) is wanted or (wanted is float and type(value) is int)
        require(wanted is None or good, key, f"must be {wanted and wanted.__name__}, is {value!r}")
    return registry.build(command.name, **command.settings)
