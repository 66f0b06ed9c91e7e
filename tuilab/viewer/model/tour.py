"""The lecture as a tour: the current scenario, how to start one, and the guide beside it.

Knows no Textual.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import TuilabError
from tuilab.charts.symbols import FAILED, OK
from tuilab.charts.text import Line, Span, pad, wrap
from tuilab.data.folder import data_folder
from tuilab.process.launch import Options, Worker
from tuilab.record.run_folder import default_path
from tuilab.scenario.catalog import CatalogEntry, entries
from tuilab.viewer.model.claims import Claims
from tuilab.viewer.model.store import RunStore

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation

LINES: Final = 3  # of the guide at most


def lecture(options: Options) -> "Tour":
    """Return the tour of all scenarios that are found; runs go to runs/. Raises ScenarioError."""
    from tuilab.process.comparison import begin_all  # they load the engine
    from tuilab.scenario.loading import load_file

    directory, scenarios = data_folder(options.data_dir), entries()
    obstacles, expected = {}, {}
    for entry in scenarios:
        try:
            file = load_file(entry.path)
        except TuilabError as error:
            obstacles[entry.path] = str(error)
        else:
            expected[entry.path] = file.expect
            runs = file.runs.values()
            missing = [run.data.source for run in runs if not run.source.is_here(directory)]
            for name in missing[:1]:
                obstacles[entry.path] = f"{name} is missing; fetch it: tuilab data fetch {name}"

    def begin(entry: CatalogEntry) -> Sequence[Worker]:
        return begin_all(load_file(entry.path), default_path(entry.name), options)

    return Tour(scenarios, begin, obstacles, expected)


@dataclass
class Tour:
    """The scenarios in their order; `begin` starts the runs of one, or raises TuilabError."""

    entries: Sequence[CatalogEntry]
    begin: Callable[[CatalogEntry], Sequence[Worker]]
    obstacles: Mapping[Path, str] = field(default_factory=dict)  # why some cannot be run here
    expected: "Mapping[Path, Sequence[Expectation]]" = field(default_factory=dict)  # over all runs
    at: int = 0
    results: dict[str, bool] = field(default_factory=dict)  # of those that have ended

    @property
    def entry(self) -> CatalogEntry:
        """The current scenario."""
        return self.entries[self.at]

    def obstacle(self, entry: CatalogEntry) -> str:
        """Return why a scenario cannot be run here, "" if it can."""
        return self.obstacles.get(entry.path, "")

    def neighbour(self, by: int) -> CatalogEntry | None:
        """Return the next scenario in a direction, 1 or −1, that can be run; None at the end."""
        following = self.entries[self.at + 1 :] if by > 0 else self.entries[: self.at][::-1]
        return next((entry for entry in following if not self.obstacle(entry)), None)

    def go_to(self, entry: CatalogEntry) -> None:
        """Make `entry` the current scenario."""
        self.at = self.entries.index(entry)

    def note(self, claims: Claims) -> None:
        """Record the result of the current scenario, once all its runs have ended."""
        if claims.whole:
            self.results[self.entry.name] = all(v.passed is True for v in claims.whole)

    def guide(self, store: RunStore, claims: Claims, cells: int) -> list[Line]:
        """Return the lines above the panels: what to look at, and in the end the verdict."""
        place: Span = (f" tour {self.at + 1}/{len(self.entries)} ", "activation.tag")
        words = self.entry.look_at
        lines = wrap([place, (" look at ", "muted"), (words, "")] if words else [place], cells, 2)
        if not words:
            lines = wrap([place, (f" {self.entry.title}", "")], cells, 2)
        ended = self._verdict(store, claims) if not store.live else []
        return [pad(line, cells) for line in [*lines[: LINES - bool(ended)], *ended]]

    def _verdict(self, store: RunStore, claims: Claims) -> list[Line]:
        held = sum(v.passed is True for v in claims.whole)
        count = f" {held} of {len(claims.whole)} claims hold"
        if not claims.whole:
            line: Line = [(f" {store.state} ", "muted")]
        elif held == len(claims.whole):
            line = [(f" {OK.glyph} as claimed ", "success.tag"), (count, "success")]
        else:
            line = [(f" {FAILED.glyph} not as claimed ", "error.tag"), (count, "error")]
        following = self.neighbour(1)
        if following is not None:
            line += [("   next ", "muted"), (following.name, ""), ("  >", "key")]
        return [line]
