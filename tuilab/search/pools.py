"""Where trials run: the interface `Pool`, and `LocalPool` for processes on this machine."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from tuilab.errors import SearchError
from tuilab.search.trial import EpochReport, LocalTrial, TrialJob, TrialOutcome

ADDRESS: Final = re.compile(r"(\w+://)?([^\s:/\[\]]+|\[[0-9a-fA-F:.%]+\]):(\d{1,5})/?")


class RunningTrial(Protocol):
    """A trial that was started."""

    def poll(self) -> Sequence[EpochReport]:
        """Return the objective after each epoch that ended since the last call."""

    def stop_early(self, reason: str) -> None:
        """End it because it is not promising."""

    def stop(self) -> None:
        """End it because the search stops."""

    def has_ended(self) -> bool:
        """Return whether there is an outcome."""

    def outcome(self) -> TrialOutcome:
        """Return the outcome. Call it once, after the trial has ended."""


class Pool(Protocol):
    """Runs a limited number of trials at a time."""

    def slots(self) -> int:
        """Return how many trials may run at a time at the moment."""

    def begin(self, job: TrialJob) -> RunningTrial:
        """Start a trial. Raises TuilabError."""

    def close(self) -> None:
        """Release the pool; all trials have ended before."""


def check_address(address: str) -> None:
    """Raise SearchError unless `address` is well-formed: Dask's client fails with a traceback."""
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 2**16:
        raise SearchError(f"--cluster {address}: write the tcp://HOST:PORT of dask scheduler")


class LocalPool:
    """Processes on this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def slots(self) -> int:
        return self._jobs

    def begin(self, job: TrialJob) -> RunningTrial:
        return LocalTrial.begin(job)

    def close(self) -> None:
        return
