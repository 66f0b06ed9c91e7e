"""Many runs, some of them at a time: started, waited for, and ended together."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.errors import TuilabError
from tuilab.errors import RunError
from tuilab.process.launch import Worker, end, has_ended

POLL: Final = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    """A run to start: its label, and the function that starts it."""

    label: str
    begin: Callable[[], Worker]


@dataclass(frozen=True, slots=True)
class Done:
    """A run that has ended, or why there is none."""

    place: int  # of its job
    seconds: float
    worker: Worker | None = None
    error: TuilabError | None = None

    def started(self) -> Worker:
        """Return the worker that ran it, or raise why there is none."""
        if self.worker is None:
            raise self.error or RunError("the run was not started")
        return self.worker


def run_all(
    jobs: Sequence[Job],
    *,
    limit: int,
    stop: Sequence[int],
    report: Callable[[Sequence[str]], None] = lambda running: None,
) -> Iterator[Done]:
    """Run `jobs`, at most `limit` at a time, and yield each when it has ended.

    `stop` fills with signals: then what runs is asked to end, and nothing more is started. No
    worker is left behind, however this ends. `report` is called with what is running.
    """
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[Worker, float]] = {}
    stopping = False
    try:
        while running or (waiting and not stop):
            while waiting and len(running) < limit and not stop:
                place, job = waiting.popleft()
                begin = time.monotonic()
                try:
                    running[place] = job.begin(), begin
                except TuilabError as error:
                    yield Done(place, time.monotonic() - begin, error=error)
            if stop and not stopping:
                stopping = True
                _end([worker for worker, _ in running.values()])
            report([jobs[place].label for place in running])
            for place in [place for place, (worker, _) in running.items() if has_ended(worker)]:
                worker, begin = running.pop(place)
                yield Done(place, time.monotonic() - begin, worker)
            time.sleep(POLL)
    finally:
        left = [worker for worker, _ in running.values()]
        _end(left)
        while not all(map(has_ended, left)):
            time.sleep(POLL)


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        end(worker)
