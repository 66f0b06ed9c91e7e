"""Where trials run: `Pool` is what the search asks of it; `LocalPool` runs them here."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from tuilab.errors import SearchError
from tuilab.search.trial import Attempt, Order, Outcome, Report

ADDRESS: Final = re.compile(r"(\w+://)?([^\s:/\[\]]+|\[[0-9a-fA-F:.%]+\]):(\d{1,5})/?")


class Running(Protocol):
    """A trial that has been begun."""

    def poll(self) -> Sequence[Report]:
        """Return the objective after each epoch that has ended since the last time."""

    def give_up(self, reason: str) -> None:
        """End it because it is not worth going on with."""

    def stop(self) -> None:
        """End it because the search stops."""

    def has_ended(self) -> bool:
        """Tell whether there is an outcome."""

    def outcome(self) -> Outcome:
        """Return what became of it. To be called once, when it has ended."""


class Pool(Protocol):
    """A place with room for so many trials at a time."""

    def slots(self) -> int:
        """Return how many trials may run at a time now."""

    def begin(self, order: Order) -> Running:
        """Begin a trial. Raises TuilabError."""

    def close(self) -> None:
        """Let go of it; what runs has been ended before."""


def check_address(address: str) -> None:
    """Check the form of a scheduler's address: Dask's client breaks noisily on another one.

    Raises SearchError.
    """
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 2**16:
        raise SearchError(f"--cluster {address}: write tcp://HOST:PORT, as dask scheduler says it")


class LocalPool:
    """Processes on this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def slots(self) -> int:
        return self._jobs

    def begin(self, order: Order) -> Running:
        return Attempt.begin(order)

    def close(self) -> None:
        return
