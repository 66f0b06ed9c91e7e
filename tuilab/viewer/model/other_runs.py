"""The other runs of a comparison, whose curves are drawn beside those of the current one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.statistics.frames import Snapshot
from tuilab.charts.series import Series
from tuilab.record import RunInfo
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.thresholds import DEFAULTS, Thresholds, thresholds_of

ROLES: Final = ("gradient", "warning", "activation", "update")
"""Roles of their curves, in order; further runs are not drawn."""


@dataclass(frozen=True, slots=True)
class OtherRun:
    """One of the other runs; `nearest` returns its snapshot nearest to a step."""

    name: str
    role: str
    series: Series  # of a fork, from where it branched off
    info: RunInfo
    nearest: Callable[[int], Snapshot | None]
    thresholds: Thresholds = DEFAULTS


class OtherRuns:
    """Follows the series of a few runs; polling one that has ended costs next to nothing."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        self._stores = [RunStore(folder, series_only=True) for folder in folders[: len(ROLES)]]

    def poll(self) -> bool:
        """Read what is new. Return whether anything is."""
        new = [store.poll().series for store in self._stores]  # a list: all of them are polled
        return any(new)

    def close(self) -> None:
        """Close the databases."""
        for store in self._stores:
            store.close()

    def __iter__(self) -> Iterator[OtherRun]:
        """Yield the runs that have taken a step."""
        for store, role in zip(self._stores, ROLES, strict=False):
            fork = store.info.fork
            series = store.series.since(fork.step) if fork is not None else store.series
            if len(series):
                thresholds = thresholds_of(store.folder)
                yield OtherRun(store.name, role, series, store.info, store.nearest, thresholds)
