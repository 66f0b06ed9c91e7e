"""Threads that share work on arrays: NumPy's loops and the kernels release Python's lock."""

import os
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

import numpy as np

WORTH: Final = 1 << 18
"""Elements below which work is not worth sharing: to wake a thread takes 50 µs."""
PATIENCE: Final = 0.1  # seconds between two checks of work that a signal has interrupted


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class ThreadTeam:
    """`size` threads, one of them the caller's; the others start when they are first needed.

    Limit the threads of BLAS while they work: together they would be too many.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = max(1, size)
        self._helpers: list[SimpleQueue[_Job | None]] = []

    def worth(self, elements: int) -> "ThreadTeam":
        """Return the team for work on this many elements: this one, or the caller alone."""
        return self if elements >= WORTH else ALONE

    def parts(self, length: int, unit: int) -> list[slice]:
        """Return a slice of `length` elements for each thread, cut at multiples of `unit`."""
        units = -(-length // unit)
        edges = [min(length, units * rank // self.size * unit) for rank in range(self.size + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges) if begin < end]

    def shares(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Return a run (first, end) of pieces of these sizes for each thread, of similar totals."""
        totals = np.cumsum([0, *sizes])
        ideal = [totals[-1] * rank / self.size for rank in range(1, self.size)]
        cuts = [int(np.argmin(np.abs(totals - total))) for total in ideal]
        return list(pairwise(sorted({0, *cuts, len(sizes)})))

    def run(
        self,
        work: Callable[..., None],
        parts: Sequence[Sequence[Any]],
        call_off: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """Call work(*part) for each of at most `size` parts, all at the same time.

        Raises what the work raises, once all parts that began have ended. If parts wait for each
        other, `call_off` must end that: it is called with an error raised in the caller's thread,
        which may be that of a signal.
        """
        while len(self._helpers) < len(parts) - 1:
            self._helpers.append(_helper(self))
        jobs = [_Job(work, part) for part in parts[1:]]
        try:
            for helper, job in zip(self._helpers, jobs, strict=False):
                helper.put(job)
            work(*parts[0])
            for job in jobs:
                job.wait()
        except BaseException as error:
            call_off(error)
            for job in jobs:
                job.cancel()
            raise
        for job in jobs:
            if job.error is not None:
                raise job.error


class _Job:
    """Work on one part, for a helper. Used once, so that no run can affect the next."""

    def __init__(self, work: Callable[..., None], part: Sequence[Any]) -> None:
        self.error: BaseException | None = None
        self._work, self._part = work, part
        self._begun, self._over = Lock(), False  # the first to acquire it decides
        self._ended = Lock()
        self._ended.acquire()

    def do(self) -> None:
        """Do the work, unless it was cancelled."""
        if self._begun.acquire(blocking=False):
            try:
                self._work(*self._part)
            except BaseException as error:  # noqa: BLE001  (raised again in the caller)
                self.error = error
        self._over = True
        self._ended.release()

    def wait(self) -> None:
        self._ended.acquire()

    def cancel(self) -> None:
        """Prevent the start, or wait for the end: a signal may come at any moment of a run."""
        if not self._begun.acquire(blocking=False):
            while not self._over:
                self._ended.acquire(timeout=PATIENCE)


def _helper(team: ThreadTeam) -> "SimpleQueue[_Job | None]":
    """Start a thread that does jobs, one after the other, as long as `team` exists."""
    inbox: SimpleQueue[_Job | None] = SimpleQueue()

    def work() -> None:
        with np.errstate(all="ignore"):  # every thread starts with the default settings
            while (job := inbox.get()) is not None:
                job.do()
                del job  # and with it the arrays

    Thread(target=work, name="tuilab thread team", daemon=True).start()
    weakref.finalize(team, inbox.put, None)
    return inbox


class Barrier:
    """A point in their work at which `size` threads wait for each other."""

    def __init__(self, size: int) -> None:
        distances = [1 << k for k in range((size - 1).bit_length())]
        self._size = size
        self._rounds = [(far, [SimpleQueue[Any]() for _ in range(size)]) for far in distances]

    def wait(self, rank: int) -> None:
        """Return when all threads have arrived; raise the error with which one called it off.

        In each round, a thread signals another that is twice as far away as in the round before, so
        after log₂(size) rounds all know of all (Hensgen, Finkel and Manber, 1988).
        """
        for far, doors in self._rounds:
            doors[(rank + far) % self._size].put(None)
            if (error := doors[rank].get()) is not None:
                raise error

    def call_off(self, error: BaseException) -> None:
        """Raise `error` in all threads that wait, now or later, until `clear`."""
        for _, doors in self._rounds:
            for door in doors:
                door.put(error)

    def clear(self) -> None:
        """Reset it after an error; no thread may wait at that time."""
        for _, doors in self._rounds:
            for door in doors:
                while not door.empty():
                    door.get()


ALONE: Final = ThreadTeam()
"""The caller's thread alone."""
