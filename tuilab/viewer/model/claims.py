"""The claims of the scenario, judged in a thread, at most once a second.

Judging may read every snapshot of a long run. The pause after it is ten times as long as it took,
so that it never costs more than a tenth of a core. Knows no Textual.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import TuilabError
from engine.states import RunState
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder

if TYPE_CHECKING:
    from tuilab.claims.expectations import Expectation, Verdict

PERIOD = 1.0  # seconds between two judgements at least
COMPLETE = (RunState.FINISHED, RunState.DIVERGED)  # a run that was stopped proves nothing


@dataclass(frozen=True, slots=True)
class Claims:
    """The latest verdicts, or why there are none."""

    verdicts: "Sequence[Verdict]" = ()
    problem: str = ""
    whole: "Sequence[Verdict]" = ()  # of all runs, once every one has ended


def judge_folder(folder: RunFolder) -> Claims:
    """Judge the expectations of a run, with a separate database connection."""
    from tuilab.claims import expectations
    from tuilab.process.run_expectations import run_expectations

    expected = run_expectations(folder)
    if not expected:
        return Claims()
    with RunReader(folder.database) as reader:
        return Claims(expectations.judge(expected, reader))


def judge_group(
    claims: Claims, expect: "Sequence[Expectation]", folders: Sequence[RunFolder]
) -> Claims:
    """Return the claims of one run with those over all runs of a comparison."""
    from tuilab.process import comparison

    if not expect:
        return claims
    runs = {}
    for folder in folders:
        if not folder.database.is_file():  # it is being started
            continue
        with RunReader(folder.database) as reader:
            info = reader.info()
        if info.fork is None:  # a fork is not part of the comparison
            runs[info.variant] = folder
    return Claims([*claims.verdicts, *comparison.judge_several(expect, runs)])


def judge_runs(
    shown: RunFolder,
    judge: Callable[[RunFolder], Claims],
    expect: "Sequence[Expectation]",
    folders: Sequence[RunFolder],
) -> Claims:
    """Judge the run that is shown, the claims over all runs and, once all have ended, every run.

    A fork is judged when it is shown, but does not count for the whole.
    """
    own = judge(shown)
    claims = judge_group(own, expect, folders)
    states = {}
    for folder in folders:
        if not folder.database.is_file():
            return claims
        with RunReader(folder.database) as reader:
            info = reader.info()
        if info.fork is None:
            states[folder] = info.state
    if not all(state in COMPLETE for state in states.values()):
        return claims
    judged = [judge(folder) if folder != shown else own for folder in states]
    over_several = claims.verdicts[len(own.verdicts) :]
    whole = (*(verdict for one in judged for verdict in one.verdicts), *over_several)
    return Claims(claims.verdicts, claims.problem, whole)


class ClaimJudge:
    """Brings `claims` up to date; `request` returns at once."""

    def __init__(
        self,
        folder: RunFolder,
        judge: Callable[[RunFolder], Claims] = judge_folder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.claims = Claims()
        self._folder, self._judge, self._clock = folder, judge, clock
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self._requested = False

    def request(self, *, changed: bool) -> None:
        """Ask for a new judgement if something `changed`; it starts as soon as one is due."""
        self._requested |= changed
        busy = self._thread is not None and self._thread.is_alive()
        if busy or not self._requested or self._clock() < self._next:
            return
        self._requested = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="claims")
        self._thread.start()

    def _run(self) -> None:
        begin = self._clock()
        try:
            self.claims = self._judge(self._folder)
        except (TuilabError, OSError) as error:
            self.claims = Claims(problem=f"the claims cannot be judged: {error}")
        finally:
            now = self._clock()
            self._next = now + max(PERIOD, 10 * (now - begin))
