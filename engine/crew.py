"""Threads that share work on arrays: NumPy's loops leave Python's lock to the others."""

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

import numpy as np

WORTH: Final = 1 << 18
"""Elements under which a piece of work is no work for two: to wake a thread takes 50 µs."""


class Crew:
    """`size` threads, one of them the caller's; the others begin when they are first needed.

    Not beside threads of BLAS: they would be too many.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = max(1, size)
        self._helpers: list[_Helper] = []

    def worth(self, elements: int) -> "Crew":
        """Return the crew for work on so many elements: this one, or the caller alone."""
        return self if elements >= WORTH else ALONE

    def parts(self, length: int, unit: int) -> list[slice]:
        """Cut `length` elements into a slice for each thread, at multiples of `unit`."""
        units = -(-length // unit)
        edges = [min(length, units * rank // self.size * unit) for rank in range(self.size + 1)]
        return [slice(begin, end) for begin, end in pairwise(edges) if begin < end]

    def run(self, work: Callable[..., None], parts: Sequence[Sequence[Any]]) -> None:
        """Call work(*part) for each of at most `size` parts, all at the same time.

        Raises what the work raises, when all have ended.
        """
        while len(self._helpers) < len(parts) - 1:
            self._helpers.append(_Helper())
            weakref.finalize(self, self._helpers[-1].begin, None, ())
        helpers = self._helpers[: len(parts) - 1]
        for helper, part in zip(helpers, parts[1:], strict=True):
            helper.begin(work, part)
        try:
            work(*parts[0])
        finally:
            for helper in helpers:
                helper.wait()
        for helper in helpers:
            if helper.error is not None:
                raise helper.error


class _Helper:
    """A thread that waits for work, one piece at a time; None ends it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._begin, self._done = Lock(), Lock()
        self._begin.acquire()
        self._done.acquire()
        self._work: Callable[..., None] | None = None
        self._part: Sequence[Any] = ()
        Thread(target=self._run, name="tuilab crew", daemon=True).start()

    def begin(self, work: Callable[..., None] | None, part: Sequence[Any]) -> None:
        self._work, self._part, self.error = work, part, None
        self._begin.release()

    def wait(self) -> None:
        """Wait for the end of the work, however often a signal interrupts that."""
        interruption: BaseException | None = None
        while True:
            try:
                self._done.acquire()
                break
            except BaseException as error:  # noqa: BLE001  (whatever a signal's handler raises)
                interruption = error
        if interruption is not None:
            raise interruption

    def _run(self) -> None:
        with np.errstate(all="ignore"):  # a thread begins with settings of its own
            while True:
                self._begin.acquire()
                if self._work is None:
                    return
                try:
                    self._work(*self._part)
                except BaseException as error:  # noqa: BLE001  (it is raised where it was asked for)
                    self.error = error
                self._work = None
                self._done.release()


class Meeting:
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


ALONE: Final = Crew()
"""The caller's thread alone."""
