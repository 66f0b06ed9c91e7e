"""What a view of one layer is: what it is given, and what it gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from engine.statistics.frames import LayerInfo, Snapshot, Units
from tuilab.charts.distributions import Axis
from tuilab.charts.text import Line
from tuilab.record import History
from tuilab.record.saved_parameters import Parameters

AxisMode = Literal["own", "shared", "fixed", "log"]


class Key(NamedTuple):
    """A key of a view: `priority` orders the footer's survivors where room is short."""

    priority: int
    shown: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class LayerViewState:
    """What of a layer is looked at, and how."""

    layer: int = 1  # from 1
    view: str = "histograms"
    tensor: str = "activation"
    axis: AxisMode = "own"
    held: Mapping[str, Axis] = field(default_factory=dict)  # of each tensor, while it is "fixed"
    held_at: int = 0  # the step that those are of
    logarithmic: bool = False  # heights of the histograms
    quantity: int = 0  # of the unit map: which of those that there are
    page: int = 0  # of what does not fit at once


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a layer at the step that is looked at; read only when asked for."""

    look: LayerViewState
    layer: LayerInfo
    snapshot: Snapshot
    past: bool  # an older snapshot than the newest
    pixels: tuple[int, int, int] | None  # of the inputs: channels, height, width
    history: Callable[[str], History | None]  # of a tensor
    units: Callable[[], tuple[int, Units] | None]  # and the step that they are of
    parameters: Callable[[], Parameters | None]


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a layer; pure functions of a subject."""

    name: str
    key: str
    help: str
    offered: Callable[[Subject], bool]
    title: Callable[[Subject], Line]  # what is on, beside its name
    draw: Callable[[Subject, int, int], list[Line]]  # cells, height
    turn: Callable[[Subject, int], LayerViewState]  # what tab changes, forth or back
    keys: Sequence[Key] = ()  # beside those of the screen


def as_of(step: int, subject: Subject) -> Line:
    """Say of which step something is, in warning where it is of later than what is looked at."""
    later = subject.past and step > subject.snapshot.step
    return [(f"as of step {step:,}", "warning" if later else "muted")]


def next_page(subject: Subject, by: int) -> LayerViewState:
    """Return the look at the next page of a view that has several."""
    return replace(subject.look, page=max(subject.look.page + by, 0))
