"""Commands to a trainer, applied between two steps: plain data, as it is sent and recorded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from engine.registry import Setting
from engine.statistics.frames import Event

HyperKind: TypeAlias = Literal["set", "scale"]
ChangeKind: TypeAlias = Literal[
    "batch_size", "schedule", "freeze", "unfreeze", "reinitialize", "activation", "batch_norm"
]
PaceKind: TypeAlias = Literal["pause", "resume", "step", "run_to_epoch", "speed", "stop"]
TrainerKind: TypeAlias = HyperKind | ChangeKind | PaceKind | Literal["checkpoint"]
Kind: TypeAlias = TrainerKind | Literal["arm"]
KINDS: Final[tuple[str, ...]] = tuple(
    kind for kinds in get_args(TrainerKind) for kind in get_args(kinds)
)
"""Kinds of commands that a `Trainer` takes."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something to do between two steps.

    "set" gives the hyper-parameter `key` a `value`, "scale" multiplies it by `value`.

    What is trained changes by "batch_size" (`value` examples), "schedule" (`name`, with its
    `settings`), "freeze" and "unfreeze", "reinitialize" (`name` of an initialiser), "activation"
    (`name`) and "batch_norm" (`name` "insert" or "remove"). All but the first two change `layer`,
    counted from 1; 0 is all hidden layers. See `engine.training.changes`.

    "pause" makes one last step, whose statistics are measured, "step" one more, "run_to_epoch" all
    to the end of this epoch; "speed" allows `value` steps a second, 0: any. See
    `engine.training.run_control`.

    "checkpoint" changes nothing: its event is the request to whoever saves checkpoints.
    """

    kind: Kind
    key: str = ""
    value: float = 0.0
    layer: int = 0
    name: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict, hash=False)

    def plain(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON has them."""
        return {name: value for name, value in asdict(self).items() if value or name == "kind"}

    @classmethod
    def of_event(cls, event: Event) -> "Command":
        """Return the command that an event records, to be applied again."""
        names = {field.name for field in fields(cls)} - {"kind"}
        detail = {name: value for name, value in event.detail.items() if name in names}
        return cls(event.kind, **detail)  # type: ignore[arg-type]
