"""Writes a watched run in a thread of its own, so that the program never waits for the disk."""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np

from engine.states import EventKind, RunState
from engine.statistics.frames import (
    Event,
    Frame,
    Snapshot,
    TrainingStatus,
    Validation,
    divergence,
)
from tuilab.adapters.scalars import Fetched, as_series, floats
from tuilab.diagnosis import Diagnosis, Monitor, RunFacts
from tuilab.errors import RunError
from tuilab.record import Part, RunWriter, Status

RETRY: Final = 1.0  # seconds between two attempts to write to a full disk
IDLE: Final = 1.0  # seconds without a packet until what waits in the program is asked for
POLL: Final = 0.01  # seconds until a device is asked again whether it has computed
MOST_WAITING: Final = 512
"""Frames that may wait for the disk; further ones are dropped rather than fill the memory."""
FAREWELL: Final = 5.0  # seconds that the end of the program waits for the last frames


@dataclass(frozen=True, kw_only=True)
class Packet:
    """What a frame is made of, some of it not computed yet: the thread waits until it is."""

    first_step: int
    steps: int = 0
    numbers: Fetched = field(default_factory=lambda: floats(()))
    """Of the steps, then of the validations."""
    time: float = 0.0  # seconds since the run began
    epoch: float = 0.0
    steps_per_second: float = float("nan")
    probe_share: float = float("nan")
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    validations: Sequence[tuple[int, float]] = ()  # after how many steps, at which epoch
    snapshot: Callable[[], Snapshot] | None = None
    events: Sequence[Event] = ()
    status: Callable[[], TrainingStatus] | None = None
    state: RunState = RunState.RUNNING
    ready: Callable[[], bool] = lambda: True

    def frame(self) -> Frame:
        """Return the frame, once everything in it is computed."""
        numbers = self.numbers.numbers()
        of_steps, rest = numbers[: self.steps], numbers[self.steps :]
        return Frame(
            first_step=self.first_step,
            series=as_series(of_steps),
            time=self.time,
            epoch=self.epoch,
            steps_per_second=self.steps_per_second,
            probe_share=self.probe_share,
            hyperparameters=self.hyperparameters,
            validations=[
                Validation(step, epoch, values)
                for (step, epoch), values in zip(self.validations, rest, strict=True)
            ],
            snapshot=None if self.snapshot is None else self.snapshot(),
            events=self.events,
            status=None if self.status is None else self.status(),
            state=self.state,
        )


@dataclass(frozen=True)
class _Describe:
    """Parts of what is known of the run, to be recorded."""

    parts: tuple[Part, ...]


class Recorder:
    """The thread that turns packets into frames, diagnoses them and writes them.

    Nothing in it raises into the program: what goes wrong calls `failed`, once.
    """

    def __init__(
        self,
        writer: RunWriter,
        facts: RunFacts,
        failed: Callable[[BaseException], None],
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        """`idle` is called where no packet has come for a while; it may put one."""
        self._writer, self._facts, self._failed, self._idle = writer, facts, failed, idle
        self._inbox: SimpleQueue[Packet | _Describe | threading.Event | None] = SimpleQueue()
        self._monitor: Monitor | None = None  # once the layers are known
        self._diagnosed = True
        self._diverged = False
        self._snapshot: Snapshot | None = None  # the newest
        self._closing = threading.Event()
        self.seconds = 0.0
        """Processor time that recording took."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="tuilab recorder")
        self._thread.start()

    def put(self, packet: Packet) -> None:
        """Record a packet, soon; not where too many wait, unless it has events."""
        if self._inbox.qsize() < MOST_WAITING or packet.events:
            self._inbox.put(packet)

    def describe(self, *parts: Part) -> None:
        """Record parts of what is known of the run, soon."""
        self._inbox.put(_Describe(parts))

    def flush(self) -> None:
        """Wait until everything is recorded that was handed over, but not for ever."""
        done = threading.Event()
        self._inbox.put(done)
        done.wait(FAREWELL)

    def close(self, status: Status) -> None:
        """Record how the run ended, and wait for that, but not for ever."""
        self.describe(status)
        self._closing.set()
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(FAREWELL)

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, _Describe):
                    self._persistently(partial(self._writer.describe, *item.parts))
                elif isinstance(item, threading.Event):
                    item.set()
                else:
                    begin = time.thread_time()
                    self._record(item)
                    self.seconds += time.thread_time() - begin
        except Exception as error:  # noqa: BLE001  (the program must go on)
            self._failed(error)
        finally:
            with suppress(RunError):
                self._writer.close()

    def _next(self) -> "Packet | _Describe | threading.Event | None":
        """Return what is to be recorded next; None at the end."""
        while True:
            try:
                return self._inbox.get(timeout=IDLE)
            except Empty:
                self._idle()

    def _record(self, packet: Packet) -> None:
        deadline = time.monotonic() + FAREWELL
        while not (packet.ready() and packet.numbers.ready()):
            if self._closing.is_set() and time.monotonic() > deadline:
                return  # a device that no longer answers
            time.sleep(POLL)
        frame = packet.frame()
        if frame.status is not None:
            self._facts = replace(self._facts, layers=tuple(frame.status.layers))
            if self._monitor is None and self._diagnosed and self._facts.layers:
                self._monitor = Monitor(Diagnosis(), self._facts)
        frame = self._with_divergence(frame)
        self._snapshot = frame.snapshot or self._snapshot
        if self._monitor is not None:
            try:
                frame = replace(frame, events=(*frame.events, *self._monitor.see(frame)))
            except Exception as error:  # noqa: BLE001  (the record is worth more than the diagnosis)
                self._monitor, self._diagnosed = None, False
                print(
                    f"tuilab: no further diagnosis: {type(error).__name__}: {error}",
                    file=sys.stderr,
                )
        self._persistently(partial(self._writer.write, frame))

    def _with_divergence(self, frame: Frame) -> Frame:
        """Add an event where the loss stops being finite: once, until a step succeeds again."""
        broken = ~np.isfinite(frame.loss)
        if "loss" not in frame.series or not frame.steps:
            return frame
        if any(event.kind == EventKind.DIVERGED for event in frame.events):
            return frame  # the engine records it itself
        if self._diverged or not broken.any():
            self._diverged = bool(broken[-1])
            return frame
        self._diverged = bool(broken[-1])
        at = int(np.argmax(broken))
        step = frame.first_step + at
        detail = divergence(float(frame.loss[at]), step, self._broken(frame), self._facts.layers)
        event = Event(step, frame.time, EventKind.DIVERGED, detail)
        return replace(frame, events=(*frame.events, event))

    def _broken(self, frame: Frame) -> Snapshot | None:
        """Return the first of the newest snapshots in which something is not finite."""
        candidates = (self._snapshot, frame.snapshot)
        return next((s for s in candidates if s is not None and s.first_nonfinite()), None)

    def _persistently(self, write: Callable[[], None]) -> None:
        """Write; on a full disk, try again until there is room or the run is over."""
        while True:
            try:
                return write()
            except RunError:
                if self._closing.wait(RETRY):
                    return write()
