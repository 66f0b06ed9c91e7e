"""A search without a view: a line a trial on stderr, and what runs now below it."""

from collections.abc import Mapping, Sequence
from typing import TextIO

from tuilab.cli.status_line import StatusLine
from tuilab.scenario.search.settings import Search, Stage
from tuilab.scenario.search.space import Space
from tuilab.search.narrowing import Edge
from tuilab.search.results import StageResult
from tuilab.search.search_loop import Listener
from tuilab.search.tables import opening, trial_line


class Progress(Listener):
    """Says what happens."""

    def __init__(self, stream: TextIO, search: Search) -> None:
        self._search = search
        self._status = StatusLine(stream, sum(stage.trials for stage in search.stages))

    def close(self) -> None:
        """Clear the line of what runs away."""
        self._status.close()

    def stage(self, stage: Stage, space: Space, why: Mapping[str, str]) -> None:
        self._status.say(opening(stage, space, why))

    def running(self, labels: Sequence[str]) -> None:
        self._status.show(labels)

    def ended(self, stage: StageResult, number: int) -> None:
        self._status.count()
        row = next(row for row in stage.rows if row.number == number)
        self._status.say(trial_line(stage, row, self._search))

    def edges(self, stage: Stage, found: Sequence[Edge], *, taken: bool) -> None:
        for edge in found:
            self._status.say(f"▲ {edge.text}")
        if not taken and any(edge.wider is not None for edge in found):
            self._status.say("  (--extend goes there)")
