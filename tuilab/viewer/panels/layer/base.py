"""A view of one layer: what it is given, and what it returns.

A module of this package that defines a `View` adds one.
"""

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
    """A key of a view; the lowest `priority` is left out of the footer first."""

    priority: int
    shown: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class LayerViewState:
    """Which layer is shown, and how."""

    layer: int = 1  # from 1
    view: str = "histograms"
    tensor: str = "activation"
    axis: AxisMode = "own"
    axes: Mapping[str, Axis] = field(default_factory=dict)  # by tensor, while `axis` is "fixed"
    fixed_at: int = 0  # the step that those are of
    logarithmic: bool = False  # heights of the histograms
    quantity: int = 0  # index into the quantities of the unit map
    page: int = 0  # of what does not fit on one screen


@dataclass(frozen=True, slots=True)
class Subject:
    """A layer at the step that is looked at; the callables read from the record."""

    state: LayerViewState
    layer: LayerInfo
    snapshot: Snapshot
    past: bool  # the snapshot is not the newest
    pixels: tuple[int, int, int] | None  # of the inputs: channels, height, width
    history: Callable[[str], History | None]  # of a tensor
    units: Callable[[], tuple[int, Units] | None]  # and the step that they are of
    parameters: Callable[[], Parameters | None]
    saves_parameters: bool = True  # its run has checkpoints from which they can be read


@dataclass(frozen=True, slots=True)
class View:
    """A way to show a layer: pure functions of a subject."""

    order: int  # in the line of names; the first is there of every layer
    name: str
    key: str
    help: str
    offered: Callable[[Subject], bool]
    title: Callable[[Subject], Line]  # the settings, beside its name
    draw: Callable[[Subject, int, int], list[Line]]  # cells, height
    turn: Callable[[Subject, int], LayerViewState]  # what tab changes, forward or back
    keys: Sequence[Key] = ()  # beside those of the screen


def as_of(step: int, subject: Subject) -> Line:
    """Return the step of what is shown, as a warning if it is later than the snapshot."""
    later = subject.past and step > subject.snapshot.step
    return [(f"as of step {step:,}", "warning" if later else "muted")]


def next_page(subject: Subject, by: int) -> LayerViewState:
    """Return the state with the next page."""
    return replace(subject.state, page=max(subject.state.page + by, 0))
