"""What a key does: an entry of the table of actions, or of those that a panel adds to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from tuilab.record import RunInfo
from tuilab.record.run_info import OWN_SOURCE
from tuilab.viewer.model.capabilities import offers

Target = TypeVar("Target")
Section = Literal["run", "tour", "view"]
Scope = Literal["anywhere", "panels", "scrolling"]


@dataclass(frozen=True)  # slots and a generic alias do not go together in Python 3.11
class Action(Generic[Target]):
    """One thing that can be done, by key, by click, from the palette, and as the help lists it.

    `run` is called with the object that it acts on: the view, or for a panel's action the panel.
    """

    id: str
    keys: str  # as Textual names them, separated by commas
    shown: str  # as they are printed
    label: str  # short, for the footer
    help: str
    run: Callable[[Target], object]
    section: Section = "view"
    priority: int = 0  # in the footer, the highest stays longest; 0: not there
    priority_after_end: int = 0  # of an action on the run, once the run has ended
    scope: Scope = "anywhere"
    """"panels": it closes a screen above them first; "scrolling": it does nothing behind one."""
    needs: str = ""  # what the run must offer for it: the kind of a command
    with_others: bool = False  # only where several runs are compared


def hints(
    actions: Sequence[Action[Any]],
    info: RunInfo,
    *,
    paused: bool,
    ended: bool,
    finished: bool = False,
    several: bool = False,
    touring: bool = False,
) -> list[tuple[int, str, str, str]]:
    """Return (priority, key, label, action) for the footer: what can be done now.

    A run that has `finished` all its steps cannot be resumed. A worker of ours prints next to
    nothing.
    """
    shown = []
    for action in actions:
        after_end = ended and action.section == "run"
        priority = action.priority_after_end if after_end else action.priority
        usable = (
            (action.section != "tour" or touring)
            and (several or not action.with_others)
            and not (finished and action.id == "go_on")
            and not (action.id == "output" and info.source == OWN_SOURCE)
            and (not action.needs or offers(info, action.needs))
        )
        if priority and usable:
            label = "resume" if action.id == "pause" and paused else action.label
            shown.append((priority, action.shown, label, action.id))
    return shown
