"""What a key does: an entry of the table of actions, or of those that a panel adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuilab.viewer.app import ViewerApp

Section = Literal["run", "tour", "view"]
Scope = Literal["anywhere", "panels", "scrolling"]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done, by key, by click, from the palette, and as the help lists it."""

    id: str
    keys: str  # as Textual names them, separated by commas
    shown: str  # as they are printed
    label: str  # short, for the footer
    help: str
    run: Callable[[ViewerApp], object]
    section: Section = "view"
    priority: int = 0  # in the footer, the highest stays longest; 0: not there
    scope: Scope = "anywhere"
    """"panels": it closes a screen above them first; "scrolling": it does nothing behind one."""
    needs: str = ""  # what the run must offer for it: the kind of a command
    with_others: bool = False  # only where several runs are compared
