"""The other runs of a comparison, whose curves are drawn beside those of the one that is shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.statistics.frames import Snapshot
from tuilab.charts.series import Series
from tuilab.record import RunInfo
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model.store import RunStore

HUES: Final = ("gradient", "warning", "activation", "update")
"""Roles of their curves, in order; more runs than these are not drawn."""


@dataclass(frozen=True, slots=True)
class OtherRun:
    """One of the other runs: its curves, and the statistics nearest to a step when asked for."""

    name: str
    role: str
    series: Series  # of a fork, from where it branched off
    info: RunInfo
    nearest: Callable[[int], Snapshot | None]


class OtherRuns:
    """Follows the series of a few runs; costs next to nothing where they have ended."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        self._stores = [RunStore(folder, series_only=True) for folder in folders[: len(HUES)]]

    def poll(self) -> bool:
        """Read what is new, and tell whether anything is."""
        found = [store.poll().series for store in self._stores]  # each of them, whatever the others
        return any(found)

    def close(self) -> None:
        """Close the databases."""
        for store in self._stores:
            store.close()

    def __iter__(self) -> Iterator[OtherRun]:
        """Yield those that have made a step."""
        for store, role in zip(self._stores, HUES, strict=False):
            fork = store.info.fork
            series = store.series.since(fork.step) if fork is not None else store.series
            if len(series):
                yield OtherRun(store.name, role, series, store.info, store.nearest)
