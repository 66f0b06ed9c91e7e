"""Trials on a Dask cluster: the only module that knows distributed.

A task follows its run like a local search does. Dask reassigns the tasks of a lost worker; a
training process that outlived its worker is ended first. Workers need tuilab, the data, and access
to the path of the search folder.
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
from tuilab.search.pools import RunningTrial, check_address
from tuilab.search.trial import EpochReport, LocalTrial, TrialJob, TrialOutcome, end_orphan

POLL: Final = 0.2  # seconds between reading a run and checking for a request to end it
TIMEOUT: Final = "10s"  # to reach the scheduler


class DaskPool:
    """The workers of a scheduler; a trial takes one thread of a worker."""

    def __init__(self, address: str, jobs: int | None) -> None:
        """Connect to `address`, for at most `jobs` trials at a time. Raises SearchError."""
        check_address(address)
        try:
            self._client = Client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SearchError(
                f"no Dask scheduler at {address} ({type(error).__name__}): "
                "start it with `dask scheduler`, and workers with `dask worker`"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            self.close()
            raise SearchError(
                f"the Dask scheduler at {address} has no workers; start some with "
                f"`dask worker {address} --nthreads 1`"
            ) from None
        self._jobs = jobs
        self._topic = f"tuilab-{uuid4().hex}"
        self._running: dict[str, _Task] = {}
        self._client.subscribe_topic(self._topic, self._on_event)

    def slots(self) -> int:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        threads = sum(int(worker["nthreads"]) for worker in workers)
        return threads if self._jobs is None else min(threads, self._jobs)

    def begin(self, job: TrialJob) -> RunningTrial:
        key = f"{self._topic}-{job.path.name}-{uuid4().hex[:6]}"
        future = self._client.submit(_follow, job, self._topic, key, key=key, pure=False)
        task = _Task(future, Event(key, client=self._client))
        self._running[key] = task
        return task

    def close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=2)

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if (task := self._running.get(str(message["key"]))) is not None:
            task.reports.append(EpochReport(**message["report"]))


class _Task:
    """The local handle of a trial on the cluster."""

    def __init__(self, future: "Future", ending: Event) -> None:
        self._future, self._ending = future, ending
        self._reason = ""
        self._stopped = False
        self.reports: list[EpochReport] = []

    def poll(self) -> Sequence[EpochReport]:
        new, self.reports = self.reports, []
        return new

    def stop_early(self, reason: str) -> None:
        self._reason = reason
        self._ending.set()

    def stop(self) -> None:
        self._stopped = True
        self._ending.set()

    def has_ended(self) -> bool:
        return bool(self._future.done())

    def outcome(self) -> TrialOutcome:
        try:
            outcome: TrialOutcome = self._future.result()
        except KilledWorker as error:
            if self._stopped:
                return TrialOutcome("stopped", reason="interrupted")
            return TrialOutcome("failed", reason=f"its Dask workers were lost: {error.last_worker}")
        except Exception as error:  # noqa: BLE001  (anything that the task raised)
            if self._stopped:
                return TrialOutcome("stopped", reason="interrupted")
            return TrialOutcome("failed", reason=f"{type(error).__name__}: {error}")
        if outcome.kind == "stopped" and self._reason:
            return TrialOutcome("pruned", reason=self._reason, run=outcome.run,
                                seconds=outcome.seconds, steps=outcome.steps)  # fmt: skip
        return outcome


def _follow(job: TrialJob, topic: str, key: str) -> TrialOutcome:
    """Run a trial to its end; executed on a worker."""
    worker = get_worker()
    ending = Event(key)
    for earlier in job.path.parent.glob(f"{job.path.name}*"):  # from a lost worker
        end_orphan(RunFolder(earlier))
    trial = LocalTrial.begin(job)
    try:
        while not trial.has_ended():
            for report in trial.poll():
                worker.log_event(topic, {"key": key, "report": asdict(report)})
            if not trial.stopped and ending.is_set():
                trial.stop()
            time.sleep(POLL)
    except BaseException:
        trial.stop()
        raise
    return trial.outcome()
