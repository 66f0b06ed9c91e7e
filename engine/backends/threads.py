"""Threads that share work on arrays: NumPy's loops and kernels leave Python's lock to others."""

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

import numpy as np

WORTH: Final = 1 << 18
"""Elements under which a piece of work is no work for two: to wake a thread takes 50 µs."""
PATIENCE: Final = 0.1  # seconds between two looks at work that a signal has interrupted


class ThreadTeam:
    """`size` threads, one of them the caller's; the others begin when they are first needed.

    Not beside threads of BLAS: they would be too many.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = max(1, size)
        self._helpers: list[SimpleQueue[_Job | None]] = []

    def worth(self, elements: int) -> "ThreadTeam":
        """Return the crew for work on so many elements: this one, or the caller alone."""
        return self if elements >= WORTH else ALONE

    def parts(self, length: int, unit: int) -> list[slice]:
        """Cut `length` elements into a slice for each thread, at multiples of `unit`."""
        units = -(-length // unit)
        edges = [min(length, units * rank // self.size * unit) for rank in range(self.size + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges) if begin < end]

    def shares(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Cut work of these sizes into a run (first, end) for each thread, of about as much."""
        done = np.cumsum([0, *sizes])
        wanted = [done[-1] * rank / self.size for rank in range(1, self.size)]
        cuts = [int(np.argmin(np.abs(done - each))) for each in wanted]
        return list(pairwise(sorted({0, *cuts, len(sizes)})))

    def run(
        self,
        work: Callable[..., None],
        parts: Sequence[Sequence[Any]],
        call_off: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """Call work(*part) for each of at most `size` parts, all at the same time.

        Raises what the work raises, when all that began have ended. Where parts wait for each
        other, `call_off` must end that: it is told what was raised in this thread, a signal's too.
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
                job.give_up()
            raise
        for job in jobs:
            if job.error is not None:
                raise job.error


class _Job:
    """Work on one part, for a helper. Used once: so nothing of one run can disturb the next."""

    def __init__(self, work: Callable[..., None], part: Sequence[Any]) -> None:
        self.error: BaseException | None = None
        self._work, self._part = work, part
        self._begun, self._over = Lock(), False  # whoever gets the lock first decides
        self._ended = Lock()
        self._ended.acquire()

    def do(self) -> None:
        """Do the work, unless it was given up."""
        if self._begun.acquire(blocking=False):
            try:
                self._work(*self._part)
            except BaseException as error:  # noqa: BLE001  (it is raised where it was asked for)
                self.error = error
        self._over = True
        self._ended.release()

    def wait(self) -> None:
        self._ended.acquire()

    def give_up(self) -> None:
        """Do not begin, or wait for the end: a signal may have come at any moment of all this."""
        if not self._begun.acquire(blocking=False):
            while not self._over:
                self._ended.acquire(timeout=PATIENCE)


def _helper(crew: ThreadTeam) -> "SimpleQueue[_Job | None]":
    """Start a thread that does jobs, one after the other, for as long as `crew` is there."""
    inbox: SimpleQueue[_Job | None] = SimpleQueue()

    def work() -> None:
        with np.errstate(all="ignore"):  # a thread begins with settings of its own
            while (job := inbox.get()) is not None:
                job.do()
                del job  # and with it the arrays

    Thread(target=work, name="tuilab crew", daemon=True).start()
    weakref.finalize(crew, inbox.put, None)
    return inbox


class Barrier:
    """A place where `size` threads wait for each other, in the middle of their work."""

    def __init__(self, size: int) -> None:
        distances = [1 << k for k in range((size - 1).bit_length())]
        self._size = size
        self._rounds = [(far, [SimpleQueue[Any]() for _ in range(size)]) for far in distances]

    def wait(self, rank: int) -> None:
        """Go on when all others have come; raises the error with which one called it off.

        In each round a thread tells one that is twice as far away as in the last: after log₂(size)
        of them everybody has heard of everybody (Hensgen, Finkel and Manber, 1988).
        """
        for far, doors in self._rounds:
            doors[(rank + far) % self._size].put(None)
            if (error := doors[rank].get()) is not None:
                raise error

    def call_off(self, error: BaseException) -> None:
        """Raise `error` in all that wait, now or later, until it is cleared."""
        for _, doors in self._rounds:
            for door in doors:
                door.put(error)

    def clear(self) -> None:
        """Forget who came and what was called off; nobody may wait then."""
        for _, doors in self._rounds:
            for door in doors:
                while not door.empty():
                    door.get()


ALONE: Final = ThreadTeam()
"""The caller's thread alone."""
