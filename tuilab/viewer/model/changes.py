"""Changes of the network and its batches: what can be chosen, and how they are reported.

Knows no Textual.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from engine.commands import ChangeKind, Command
from engine.errors import ConfigError
from engine.initializers import initializers
from engine.network import activation_choices
from engine.optimization.schedules import schedules
from engine.registry import Registry
from engine.statistics.frames import Event, LayerInfo, hidden_layers
from engine.training.changes import INSERT, REMOVE
from tuilab.charts.symbols import FROZEN
from tuilab.diagnosis.finding import named_layers
from tuilab.record import RunInfo
from tuilab.toml_structs import called, member
from tuilab.viewer.model.capabilities import offers

EVERY_LAYER: Final = 0  # the index of all hidden layers together

Item = tuple[str, str]
"""An entry of a dialog: its id and its text."""


@dataclass(frozen=True, slots=True)
class ChangeOption:
    """A change that the dialog offers.

    `fits` returns whether it applies to a layer; None: it is not about a layer. `family` has the
    members to choose from; None: `name` is the only one.
    """

    kind: ChangeKind
    label: str
    done_to: str = ""  # the title of the next dialog: "freeze {}"
    fits: Callable[[LayerInfo], bool] | None = None
    output: bool = False  # it applies to the output layer too
    family: Registry[Any] | None = None
    name: str = ""
    now: Callable[[RunInfo, int], str] = lambda info, layer: ""  # the present member, "" if unknown

    def title(self, layer: int) -> str:
        """Return the title for a layer; 0: for all hidden ones."""
        return self.done_to.format(f"layer {layer}" if layer else "all hidden layers")


def _activation_now(info: RunInfo, layer: int) -> str:
    """Return the non-linearity of a layer; of all hidden ones, if they have the same."""
    names = {
        one.activation
        for one in info.layers[: hidden_layers(info.layers)]
        if layer in (one.index, EVERY_LAYER)
    }
    return names.pop() if len(names) == 1 else ""


OPTIONS: Final = {
    "activation": ChangeOption(
        "activation",
        "non-linearity",
        "non-linearity of {}",
        lambda _: True,
        family=activation_choices(),
        now=_activation_now,
    ),
    "insert": ChangeOption(
        "batch_norm",
        "insert batch norm",
        "insert batch norm into {}",
        lambda layer: not layer.normalization,
        name=INSERT,
    ),
    "remove": ChangeOption(
        "batch_norm",
        "remove batch norm",
        "remove batch norm from {}",
        lambda layer: bool(layer.normalization),
        name=REMOVE,
    ),
    "reinitialize": ChangeOption(
        "reinitialize",
        "re-initialise",
        "re-initialise {} by",
        lambda _: True,
        output=True,
        family=initializers,
    ),
    "freeze": ChangeOption(
        "freeze", "freeze", "freeze {}", lambda layer: not layer.frozen, output=True
    ),
    "unfreeze": ChangeOption(
        "unfreeze", "unfreeze", "unfreeze {}", lambda layer: layer.frozen, output=True
    ),
    "schedule": ChangeOption(
        "schedule",
        "learning-rate schedule",
        "learning-rate schedule from here on",
        family=schedules,
        now=lambda info, layer: info.schedule or "constant",
    ),
}


def options(info: RunInfo, layer: int | None = None) -> list[Item]:
    """Return the changes offered for a network, or for the `layer` (from 1) that is shown."""
    items = []
    for key, option in OPTIONS.items():
        if not offers(info, option.kind):
            continue
        if option.fits is None:
            if layer is None:
                items.append((key, f"{option.label:<25}now {info.schedule or 'constant'}"))
        elif layer is None:
            if targets(info, option):
                items.append((key, option.label))
        elif any(index == str(layer) for index, _ in targets(info, option)):
            items.append((key, option.label))
    return items


def targets(info: RunInfo, option: ChangeOption) -> list[Item]:
    """Return the layers that a change applies to: all hidden ones together, and one by one.

    The id of all hidden layers is 0.
    """
    hidden = hidden_layers(info.layers)
    fitting = [
        layer
        for layer in info.layers
        if option.fits is not None
        and option.fits(layer)
        and (option.output or layer.index <= hidden)
    ]
    single = [(str(layer.index), _line(layer)) for layer in fitting]
    several = sum(layer.index <= hidden for layer in fitting) > 1
    return [(str(EVERY_LAYER), "all hidden layers")] * several + single


def _line(layer: LayerInfo) -> str:
    notes = [layer.normalization.replace("_", " "), FROZEN.glyph if layer.frozen else ""]
    rest = "  ".join(note for note in notes if note)
    return f"{layer.index:>2}  {layer.name:<12}{layer.kind}, {layer.units} units  {rest}".rstrip()


def members(family: Registry[Any], now: str = "") -> list[Item]:
    """Return the members of a family with their default settings.

    The member in use `now` is marked, without settings: they may differ from the defaults.
    """
    return [
        (name, f"{name:<25}now" if name == now else written(family, name))
        for name in sorted(family)
    ]


def written(family: Registry[Any], name: str) -> str:
    """Return a member as it can be typed: "he", "normal(0.01)"."""
    defaults = [f.default for f in fields(family[name]) if f.default is not MISSING]
    inside = ", ".join(_toml(value) for value in defaults)
    return f"{name}({inside})" if inside else name


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def named(option: ChangeOption, layer: int, text: str) -> Command:
    """Return the command of a change with the member that was typed. Raises ConfigError."""
    if option.family is None:
        return Command(option.kind, layer=layer, name=option.name)
    text = text.strip()
    member(option.family, text, "")
    table = called(option.family, text, "")
    settings = {key: value for key, value in table.items() if key != "name"}
    return Command(option.kind, layer=layer, name=table["name"], settings=settings)


def batch_size(text: str, examples: int) -> int:
    """Return the batch size that was typed; "all" means `examples`. Raises ConfigError."""
    text = text.strip()
    if text == "all":
        return examples
    if not text.isdecimal():
        raise ConfigError(f"'{text}' is not a whole number; try 50, or all")
    if not 1 <= (size := int(text)) <= examples:
        raise ConfigError(f"must be between 1 and {examples:,}, the number of training examples")
    return size


def sentence(event: Event) -> str:
    """Return a sentence that confirms a change."""
    layer = event.detail.get("layer", 0)
    where = f"layer {layer}" if layer else "all hidden layers"
    step = f"from step {event.step:,}"
    match event.kind:
        case "batch_size":
            size = event.detail.get("value", 0)
            return f"batch size {size:.0f} {step}; a new epoch starts"
        case "schedule":
            return f"schedule {event.detail.get('name')} {step} to the end"
        case "freeze":
            return f"{where} frozen {step}: no update changes the parameters"
        case "unfreeze":
            return f"{where} unfrozen {step}"
    name = event.detail.get("name", "")
    what = {
        ("batch_norm", INSERT): f" with batch norm in {where}",
        ("batch_norm", REMOVE): f" without batch norm in {where}",
        ("activation", name): f" with {name} in {where}",
        ("reinitialize", name): f" with {name} weights in {where}",
    }.get((event.kind, name), "") if name else ""  # fmt: skip
    # Before version 0.3 it was recorded as "anew".
    weights = _reset(event.detail.get("reset", event.detail.get("anew", [])))
    return f"network rebuilt at step {event.step:,}{what}: {weights}"


def _reset(parameters: Sequence[tuple[int, str]]) -> str:
    """Return which parameters (layer, name) were reset."""
    if not parameters:
        return "all weights are unchanged"
    layers: dict[str, list[int]] = {}
    for layer, name in parameters:
        layers.setdefault(name, []).append(layer)
    names: dict[tuple[int, ...], list[str]] = {}
    for name, indices in layers.items():
        names.setdefault(tuple(indices), []).append(name)
    parts = [f"{' and '.join(named)} of {named_layers(of)}" for of, named in names.items()]
    return f"reset: {'; '.join(parts)}; all other weights are unchanged"
