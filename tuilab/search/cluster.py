"""Trials on a Dask cluster: the only module that knows distributed.

A task follows its run as a search does here. Dask gives the tasks of a lost worker to another one;
a training process that outlived its worker is ended first. Workers need tuilab, the data, and a
place at the path of the search's folder.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final
from uuid import uuid4

from distributed import Client, Event, Future, KilledWorker, get_worker

from tuilab.errors import SearchError
from tuilab.record.run_folder import RunFolder
from tuilab.search.pools import Running, check_address
from tuilab.search.trial import Attempt, Order, Outcome, Report, end_left_over

POLL: Final = 0.2  # seconds between two looks at a run, and at whether it is to end
TIMEOUT: Final = "10s"  # to reach the scheduler


class DaskPool:
    """The workers of a scheduler, a thread of theirs a trial."""

    def __init__(self, address: str, jobs: int | None) -> None:
        """Connect to `address`, for at most `jobs` trials at a time. Raises SearchError."""
        check_address(address)
        try:
            self._client = Client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SearchError(
                f"no Dask scheduler at {address} ({type(error).__name__}): "
                "start one with dask scheduler, and workers with dask worker"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            self.close()
            raise SearchError(
                f"the Dask scheduler at {address} has no workers: start some with "
                f"dask worker {address} --nthreads 1"
            ) from None
        self._jobs = jobs
        self._topic = f"tuilab-{uuid4().hex}"
        self._running: dict[str, _Task] = {}
        self._client.subscribe_topic(self._topic, self._hear)

    def slots(self) -> int:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        room = sum(int(worker["nthreads"]) for worker in workers)
        return room if self._jobs is None else min(room, self._jobs)

    def begin(self, order: Order) -> Running:
        key = f"{self._topic}-{order.path.name}-{uuid4().hex[:6]}"
        future = self._client.submit(_follow, order, self._topic, key, key=key, pure=False)
        task = _Task(future, Event(key, client=self._client))
        self._running[key] = task
        return task

    def close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=2)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        said = event[1]
        if (task := self._running.get(str(said["key"]))) is not None:
            task.reports.append(Report(**said["report"]))


class _Task:
    """A trial on the cluster, seen from here."""

    def __init__(self, future: "Future", ending: Event) -> None:
        self._future, self._ending = future, ending
        self._reason = ""
        self._stopped = False
        self.reports: list[Report] = []

    def poll(self) -> Sequence[Report]:
        new, self.reports = self.reports, []
        return new

    def give_up(self, reason: str) -> None:
        self._reason = reason
        self._ending.set()

    def stop(self) -> None:
        self._stopped = True
        self._ending.set()

    def has_ended(self) -> bool:
        return bool(self._future.done())

    def outcome(self) -> Outcome:
        try:
            told: Outcome = self._future.result()
        except KilledWorker as error:
            if self._stopped:
                return Outcome("stopped", reason="interrupted")
            return Outcome("failed", reason=f"its Dask workers were lost: {error.last_worker}")
        except Exception as error:  # noqa: BLE001  (whatever the task raised there)
            if self._stopped:
                return Outcome("stopped", reason="interrupted")
            return Outcome("failed", reason=f"{type(error).__name__}: {error}")
        if told.kind == "stopped" and self._reason:
            return Outcome("given_up", reason=self._reason, run=told.run,
                           seconds=told.seconds, steps=told.steps)  # fmt: skip
        return told


def _follow(order: Order, topic: str, key: str) -> Outcome:
    """Run a trial on a worker to its end."""
    worker = get_worker()
    ending = Event(key)
    for earlier in order.path.parent.glob(f"{order.path.name}*"):  # of a worker that was lost
        end_left_over(RunFolder(earlier))
    attempt = Attempt.begin(order)
    try:
        while not attempt.has_ended():
            for report in attempt.poll():
                worker.log_event(topic, {"key": key, "report": asdict(report)})
            if not attempt.stopped and ending.is_set():
                attempt.stop()
            time.sleep(POLL)
    except BaseException:
        attempt.stop()
        raise
    return attempt.outcome()
