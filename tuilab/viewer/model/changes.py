"""Changes of what is trained, as the view offers them and tells of them. Knows no Textual."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from engine.commands import ChangeKind, Command
from engine.errors import ConfigError
from engine.initializers import initializers
from engine.network import activation_choices
from engine.optimization.schedules import schedules
from engine.registry import Registry
from engine.statistics.frames import Event, LayerInfo
from engine.training.changes import INSERT, REMOVE
from tuilab.diagnosis.base import named_layers
from tuilab.record import RunInfo
from tuilab.toml_structs import called, member

FROZEN: Final = "❄"
EVERY_LAYER: Final = 0  # the index that stands for all hidden ones

Option = tuple[str, str]
"""What choosing it answers, and how it is written."""


@dataclass(frozen=True, slots=True)
class ChangeOption:
    """One line of the dialog: a command in the making.

    `fits` tells whether it makes sense for a layer, None where it is about none; `family` has the
    members to choose from, None where `name` says all.
    """

    kind: ChangeKind
    label: str
    done_to: str = ""  # the title of what comes next: "freeze {}"
    fits: Callable[[LayerInfo], bool] | None = None
    output: bool = False  # it may be about the output layer too
    family: Registry[Any] | None = None
    name: str = ""
    now: Callable[[RunInfo, int], str] = lambda info, layer: ""  # the member there is, where known

    def title(self, layer: int) -> str:
        """Return a title for the choice of what becomes of a layer, 0: of all hidden ones."""
        return self.done_to.format(f"layer {layer}" if layer else "all hidden layers")


def _activation_now(info: RunInfo, layer: int) -> str:
    """Return the non-linearity of a layer; of all hidden ones, where they have the same."""
    found = {each.activation for each in info.layers[:-1] if layer in (each.index, EVERY_LAYER)}
    return found.pop() if len(found) == 1 else ""


WAYS: Final = {
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


def ways(info: RunInfo, layer: int | None = None) -> list[Option]:
    """Return what can be done to a network, or to the layer (from 1) that is looked at."""
    found = []
    for key, way in WAYS.items():
        if way.fits is None:
            if layer is None:
                found.append((key, f"{way.label:<25}now {info.schedule or 'constant'}"))
        elif layer is None:
            if targets(info, way):
                found.append((key, way.label))
        elif any(index == str(layer) for index, _ in targets(info, way)):
            found.append((key, way.label))
    return found


def targets(info: RunInfo, way: ChangeOption) -> list[Option]:
    """Return the layers that a way fits: all hidden ones together, where it is several, and each.

    The index of all is 0.
    """
    hidden = len(info.layers) - 1
    fitting = [
        layer
        for layer in info.layers
        if way.fits is not None and way.fits(layer) and (way.output or layer.index <= hidden)
    ]
    each = [(str(layer.index), _line(layer)) for layer in fitting]
    several = sum(layer.index <= hidden for layer in fitting) > 1
    return [(str(EVERY_LAYER), "all hidden layers")] * several + each


def _line(layer: LayerInfo) -> str:
    marks = [layer.normalization.replace("_", " "), FROZEN if layer.frozen else ""]
    rest = "  ".join(mark for mark in marks if mark)
    return f"{layer.index:>2}  {layer.name:<12}{layer.kind}, {layer.units} units  {rest}".rstrip()


def members(family: Registry[Any], now: str = "") -> list[Option]:
    """Return the members of a family, with their settings as they are if not given.

    The one that there is `now` says so, by its name alone: its settings may be others.
    """
    return [
        (name, f"{name:<25}now" if name == now else written(family, name))
        for name in sorted(family)
    ]


def written(family: Registry[Any], name: str) -> str:
    """Return a member as one may type it: "he", "normal(0.01)"."""
    defaults = [f.default for f in fields(family[name]) if f.default is not MISSING]
    inside = ", ".join(_toml(value) for value in defaults)
    return f"{name}({inside})" if inside else name


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def named(way: ChangeOption, layer: int, text: str) -> Command:
    """Return the command that a typed member makes of a way. Raises ConfigError."""
    if way.family is None:
        return Command(way.kind, layer=layer, name=way.name)
    text = text.strip()
    member(way.family, text, "")
    table = called(way.family, text, "")
    settings = {key: value for key, value in table.items() if key != "name"}
    return Command(way.kind, layer=layer, name=table["name"], settings=settings)


def batch_size(text: str, examples: int) -> int:
    """Return the number of examples that was typed; "all" is one too. Raises ConfigError."""
    text = text.strip()
    if text == "all":
        return examples
    if not text.isdecimal():
        raise ConfigError(f"'{text}' is no whole number; try 50, or all")
    if not 1 <= (size := int(text)) <= examples:
        raise ConfigError(f"must be 1 … {examples:,}, the training examples there are")
    return size


def label(event: Event) -> str:
    """Say in a word or two what was changed, for a mark over a curve."""
    layer, name = event.detail.get("layer", 0), str(event.detail.get("name", ""))
    which = str(layer) if layer else "all"
    match event.kind:
        case "batch_size":
            return f"batch {event.detail.get('value', 0):.0f}"
        case "schedule":
            return name
        case "freeze":
            return f"{FROZEN} {which}"
        case "unfreeze":
            return f"thaw {which}"
        case "reinitialize":
            return f"{name} {which}"
        case "activation":
            return f"{name} {which}"
        case "batch_norm":
            return f"{'+' if name == INSERT else '−'}BN {which}"
    return event.kind


def sentence(event: Event) -> str:
    """Say what became of a change, for the one who asked for it."""
    layer = event.detail.get("layer", 0)
    where = f"layer {layer}" if layer else "all hidden layers"
    step = f"from step {event.step:,}"
    match event.kind:
        case "batch_size":
            size = event.detail.get("value", 0)
            return f"batches of {size:.0f} {step}; a new epoch begins"
        case "schedule":
            return f"schedule {event.detail.get('name')} {step} to the end"
        case "freeze":
            return f"{where} frozen {step}: no update changes the parameters"
        case "unfreeze":
            return f"{where} learning again {step}"
    name = event.detail.get("name", "")
    what = {
        ("batch_norm", INSERT): f" with batch norm in {where}",
        ("batch_norm", REMOVE): f" without batch norm in {where}",
        ("activation", name): f" with {name} in {where}",
        ("reinitialize", name): f" with {name} weights in {where}",
    }.get((event.kind, name), "") if name else ""  # fmt: skip
    kept = _kept(event.detail.get("anew", []))
    return f"network rebuilt at step {event.step:,}{what}: {kept}"


def _kept(anew: Sequence[tuple[int, str]]) -> str:
    """Say what of the parameters (layer, name) begins anew."""
    if not anew:
        return "all weights are kept"
    layers: dict[str, list[int]] = {}
    for layer, name in anew:
        layers.setdefault(name, []).append(layer)
    names: dict[tuple[int, ...], list[str]] = {}
    for name, found in layers.items():
        names.setdefault(tuple(found), []).append(name)
    parts = [f"{' and '.join(named)} of {named_layers(of)}" for of, named in names.items()]
    return f"all is kept but {'; '.join(parts)}, which begin{'s' * (len(anew) == 1)} anew"
