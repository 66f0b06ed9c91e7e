"""Training by several ranks: rank 0 records, and they meet at the end of some steps.

At a meeting, rank 0 broadcasts an order: when the next meeting is, whether that step is measured,
and the commands of the view. Then it gathers what the ranks have measured since the last one. So
there are two collectives at a meeting and none at other steps, and which steps are measured is
agreed on by their number, never by anyone's clock. The collectives are those of the program's own
process group: a rank that is gone ends the watching as it ends the training.
"""

import json
import os
import sys
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.distributed as dist

from engine.commands import Command
from engine.states import EventKind, RunState
from engine.statistics.frames import Floats
from tuilab.adapters.cadence import Cadence
from tuilab.adapters.scalars import as_float
from tuilab.adapters.torch.rows import Row
from tuilab.adapters.torch.tensors import COUNT, HIGH, MEAN, NONFINITE, Pending, Statistics, merge
from tuilab.adapters.watched_run import (
    PATIENCE,
    Controls,
    Measured,
    Stopped,
    WatchedRun,
    WatchOptions,
)
from tuilab.record import Compute, Part, Source

BETWEEN: Final = 0.5  # seconds between two meetings, about: commands wait so long
ORDER: Final = 4096  # bytes
AT_ONCE: Final = 16  # commands that fit into an order
ON_ALL: Final = ("set", "scale", "freeze", "unfreeze")
"""Commands that each rank must apply."""
LANES: Final = ("loss", "step_time", "time_to_loss")
"""What is known of each step of each rank; times in seconds. Until the loss is computed, no rank
waits for another."""
MOST_LANES: Final = 16
"""Of more ranks, only what is wrong is recorded."""
SLOW: Final = 1.5
"""A rank is slow if its losses take this many times as long as those of the others."""
NOTICEABLE: Final = 0.005  # seconds a step that the others wait
JUDGED: Final = 20  # steps by whose median a rank is judged
FORWARD: Final = ("activation", "pre_activation", "activation_grad")
"""Tensors of which each rank has its own examples."""
OUTPUTS: Final = FORWARD[:2]
"""Those whose values are one rank's own fault: a gradient is that of all."""
HEAD: Final = 4
"""Numbers at the beginning of what a rank reports: whether it measures, the fingerprint of its
layers, how many of its activations are not finite, and its number of steps."""

_runs = 0
"""How many runs have begun in this process: so that ranks mean the same one."""


@dataclass(frozen=True, slots=True)
class Order:
    """What rank 0 decides at a meeting."""

    next: int = 0  # the step of the next meeting
    measured: bool = False  # whether that step is
    state: str = RunState.RUNNING  # PAUSED: another order follows; FINISHED: no more meetings
    commands: Sequence[Mapping[str, Any]] = ()
    size: int = 0  # of what each rank reports, in numbers

    def encoded(self) -> torch.Tensor:
        """Return the order as ORDER bytes."""
        text = json.dumps(asdict(self)).encode()
        return torch.frombuffer(bytearray(text.ljust(ORDER)), dtype=torch.uint8)

    @classmethod
    def decoded(cls, data: torch.Tensor) -> "Order":
        """Return the order that `encoded` has written."""
        return cls(**json.loads(data.numpy().tobytes()))


class RankControls(Controls, Protocol):
    """What a watcher of one of several ranks offers."""

    def uneven(self) -> bool:
        """Return whether ranks may make different numbers of steps."""


class Meetings:
    """The collectives of the watchers of one run, one in each rank."""

    def __init__(self) -> None:
        global _runs
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._store = dist.distributed_c10d._get_default_store()
        self._prefix = f"tuilab/{_runs}"
        _runs += 1
        on_host = "cpu:" in dist.get_backend_config()
        self._device = torch.device("cpu") if on_host else _accelerator()
        self._store.set(f"{self._prefix}/{self.rank}", "watches")

    def all_watch(self) -> bool:
        """Return whether all ranks watch; the same in each, after their first step.

        Rank 0 decides: a program may watch in rank 0 alone.
        """
        decision = f"{self._prefix}/together"
        if self.rank == 0:
            watching = self._store.check([f"{self._prefix}/{r}" for r in range(self.size)])
            self._store.set(decision, "yes" if watching else "no")
            return bool(watching)
        if not self._store.check([f"{self._prefix}/0"]):
            return False
        return bytes(self._store.get(decision)) == b"yes"

    def broadcast(self, order: Order | None = None) -> Order:
        """Return the order of rank 0, which gives it."""
        data = torch.empty(ORDER, dtype=torch.uint8) if order is None else order.encoded()
        data = data.to(self._device)
        dist.broadcast(data, 0)
        return order or Order.decoded(data.cpu())

    def gather(self, report: Floats) -> list[Floats]:
        """Return the reports of all ranks, equally long; of none in other ranks than 0."""
        own = torch.from_numpy(report).to(self._device)
        parts = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(own, parts, 0)
        return [part.cpu().numpy() for part in parts or ()]


def _accelerator() -> torch.device:
    return torch.accelerator.current_accelerator() or torch.device("cpu")


class SharedStatistics:
    """The statistics of a step in this rank, to be merged with those of the others."""

    def __init__(
        self,
        pending: Pending,
        rows: Sequence[Row],
        slots: Sequence[Mapping[str, int]],
        sharded: set[int],
    ) -> None:
        """`sharded` are the slots whose tensors are divided between the ranks."""
        while not pending.ready():
            time.sleep(0.001)
        self._own = pending.result()
        self._rows = [row for row in rows if row in self._own.highest]
        self._merged = sorted(
            sharded | {slot for of_row in slots for name, slot in of_row.items() if name in FORWARD}
        )
        self._gradients = [of["activation_grad"] for of in slots if "activation_grad" in of]
        paths = [(row.path, *of_row) for row, of_row in zip(rows, slots, strict=True)]
        self.fingerprint = float(zlib.crc32(repr(paths).encode()))
        outputs = [of_row[name] for of_row in slots for name in OUTPUTS if name in of_row]
        self.nonfinite = float(np.nansum(self._own.statistics[outputs, NONFINITE]))

    def report(self) -> Floats:
        """Return what other ranks need of it."""
        own, at = self._own, self._merged
        parts = own.statistics[at], own.ranges[at], own.histograms[at].astype(np.float64)
        highest = [own.highest[row] for row in self._rows]
        return np.concatenate([part.ravel() for part in (*parts, *highest)])

    def merge(self, reports: Sequence[Floats]) -> None:
        """Merge with the reports of other ranks.

        A gradient with respect to an activation becomes that of the mean over all ranks.
        """
        own, at = self._own, self._merged
        shapes = [own.statistics[at].shape, own.ranges[at].shape, own.histograms[at].shape]
        shapes += [own.highest[row].shape for row in self._rows]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        for report in reports:
            parts = np.split(report, ends[:-1])
            table, ranges, counts, *highest = (
                part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)
            )
            for place, slot in enumerate(at):
                _merge(own, slot, table[place], ranges[place], counts[place].astype(np.int64))
            for row, theirs in zip(self._rows, highest, strict=True):
                own.highest[row][...] = np.fmax(own.highest[row], theirs)
        for slot in self._gradients:
            own.statistics[slot, MEAN : HIGH + 1] /= len(reports) + 1
            own.ranges[slot] /= len(reports) + 1

    def result(self) -> Statistics:
        """Return the statistics, of all ranks once they are merged."""
        return self._own

    def ready(self) -> bool:
        """Return True: these are computed."""
        return True


def _merge(own: Statistics, slot: int, row: Floats, edges: Floats, counts: Any) -> None:
    if not row[COUNT] > 0:
        return
    if not own.statistics[slot, COUNT] > 0:
        own.statistics[slot], own.ranges[slot], own.histograms[slot] = row, edges, counts
        return
    merge(own.statistics[slot], row)
    before = own.ranges[slot].copy()
    wide = np.array([min(before[0], edges[0]), max(before[1], edges[1])])
    own.histograms[slot] = rebinned(own.histograms[slot], before, wide)
    own.histograms[slot] += rebinned(counts, edges, wide)
    own.ranges[slot] = wide


def rebinned(counts: Any, edges: Floats, wide: Floats) -> Any:
    """Return a histogram (1 + bins + 1,) over a range that contains its own.

    Exact where ranges nest, as those do that end at powers of two. What was outside stays outside.
    """
    if (edges == wide).all():
        return counts
    bins = len(counts) - 2
    centers = edges[0] + (np.arange(bins) + 0.5) * (edges[1] - edges[0]) / bins
    at = ((centers - wide[0]) / (wide[1] - wide[0]) * bins).astype(np.int64)
    result = np.zeros_like(counts)
    result[[0, -1]] = counts[[0, -1]]
    np.add.at(result, 1 + np.clip(at, 0, bins - 1), counts[1:-1])
    return result


class _Steps:
    """The losses and times of a rank's steps since the last meeting."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, float, float]] = []
        self._begin = time.perf_counter()
        self._to_loss = float("nan")

    def loss_known(self) -> None:
        """Remember when the loss of this step was computed: of several, the last."""
        self._to_loss = time.perf_counter() - self._begin

    def end(self, loss: Any) -> None:
        """End a step."""
        now = time.perf_counter()
        self._rows.append((loss, now - self._begin, self._to_loss))
        self._begin, self._to_loss = now, float("nan")

    def resume(self) -> None:
        """Do not count the time since the last step: it was a meeting's."""
        self._begin = time.perf_counter()

    def take(self) -> Floats:
        """Return them as (steps, LANES), and begin again."""
        rows = [(as_float(loss), *times) for loss, *times in self._rows]
        self._rows = []
        return np.array(rows, np.float64).reshape(len(rows), len(LANES))


def _report(steps: Floats, shared: SharedStatistics | None) -> Floats:
    known = (1.0, shared.fingerprint, shared.nonfinite) if shared is not None else (1.0, 0.0, 0.0)
    head = np.array([*known, len(steps)])
    rest = np.empty(0) if shared is None else shared.report()
    return np.concatenate([head, steps.ravel(), rest])


class LeadingRun(WatchedRun):
    """The run in rank 0: it records, decides, and hears of the others."""

    def __init__(
        self, options: WatchOptions, controls: RankControls, source: Source, compute: Compute
    ) -> None:
        self._meetings = Meetings()
        self._together: bool | None = None  # not known before the end of the first step
        self._steps = _Steps()
        self._made = 0  # steps, also while nothing is recorded any more
        self._next, self._measured_next = 0, options.every != "never"
        self._orders: list[Mapping[str, Any]] = []  # commands that the others must apply
        self._named: set[tuple[str, int]] = set()  # what was recorded of a rank
        self._to_loss: dict[int, deque[float]] = {}  # seconds, of the last steps of each rank
        self._watcher = controls
        super().__init__(options, controls, source, compute)

    def gradient_known(self) -> None:
        super().gradient_known()
        self._steps.loss_known()

    def end_step(self, values: Mapping[str, Any], measured: Measured | None, spent: float) -> bool:
        """End a step, with a meeting if there is to be one."""
        if not self._begin_meetings():
            return super().end_step(values, measured, spent)
        step, self._made = self._made, self._made + 1
        try:
            self._steps.end(values.get("loss", np.nan))
            armed = self._count_step(values, measured, spent)
            if step == self._next:
                self._meet(step, measured)
            else:
                self._wait_for_speed()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  (of the process group)
            self._lose(error)
            return False
        return self._measured_next and self._made == self._next if self._together else armed

    def _begin_meetings(self) -> bool:
        """Return whether the ranks meet; the first time, find out."""
        if self._together is None:
            self._together = self._meetings.all_watch()
            if not self._together:
                self._event(
                    EventKind.RANKS,
                    {"message": "only rank 0 is watched: the others called no watch()"},
                )
        return self._together

    def pass_step(self) -> None:
        """Count a step that is not recorded any more; tell the others at the next meeting."""
        if self._together is None:
            self._together = self._meetings.all_watch()
        if not self._together:
            return
        step, self._made = self._made, self._made + 1
        if step == self._next:
            self._together = False
            self._meetings.broadcast(Order(state=RunState.FINISHED))

    def _lose(self, error: Exception) -> None:
        self._together = False
        message = f"the other ranks no longer answer: {type(error).__name__}: {error}"
        self._event(EventKind.RANKS, {"message": message})
        print(f"tuilab: no longer watching: {message}", file=sys.stderr, flush=True)
        self._end(RunState.FAILED, message)

    def _meet(self, step: int, measured: Measured | None) -> None:
        if self._watcher.uneven():
            self._together = False
            message = "the ranks have uneven numbers of steps: only rank 0 is recorded from here on"
            self._event(EventKind.RANKS, {"message": message})
            self._send(time.perf_counter(), measured)
            return
        for _ in range(AT_ONCE):
            if not self._inbox.empty():
                self._apply(self._inbox.get())
        shared = None if measured is None else measured.shared
        report = _report(self._steps.take(), shared)
        self._give_order(step, len(report))
        self._hear([report, *self._meetings.gather(report)[1:]], shared)
        self._send(time.perf_counter(), measured)
        if self._control.waiting:
            self._send(time.perf_counter(), state=RunState.PAUSED)
            while self._control.waiting and not self._closed:
                with suppress(Empty):
                    self._apply(self._inbox.get(timeout=PATIENCE))
                self._give_order(step)
            self._send(time.perf_counter())
        self._wait_for_speed()
        self._steps.resume()
        if self._control.state is RunState.STOPPED:
            self._together = False
            self._end_training()

    def _give_order(self, step: int, size: int = 0) -> None:
        self._next, self._measured_next = self._next_meeting(step)
        state = self._control.state
        if state is RunState.PAUSED and not self._control.waiting:
            state = RunState.RUNNING  # a single step
        orders, self._orders = self._orders, []
        self._meetings.broadcast(Order(self._next, self._measured_next, str(state), orders, size))

    def _next_meeting(self, step: int) -> tuple[int, bool]:
        """Return the step of the next meeting, and whether it is measured."""
        if self.cadence.asked or self._control.may_pause:
            return step + 1, True
        soon, due = step + self.cadence.steps_in(BETWEEN), self.cadence.next_step(step)
        return (soon, False) if due is None or due > soon else (due, True)

    def _apply(self, command: Command) -> None:
        before = len(self._events)
        super()._apply(command)
        applied = any(event.kind == command.kind for event in self._events[before:])
        if applied and command.kind in ON_ALL:
            self._orders.append(command.plain())

    def _wait_for_speed(self) -> None:
        """Wait as the speed limit demands; what comes meanwhile waits for the next meeting."""
        came = []
        while (command := self._control.wait(self._inbox)) is not None:
            came.append(command)
        for command in came:
            self._inbox.put(command)

    def _hear(self, reports: Sequence[Floats], shared: SharedStatistics | None) -> None:
        """Record what the ranks report, ours first."""
        steps = int(reports[0][3])
        lanes = HEAD + steps * len(LANES)
        heard: dict[int, Floats] = {}
        others = []
        for rank, report in enumerate(reports):
            if report[0]:
                heard[rank] = report[HEAD:lanes].reshape(steps, len(LANES))
                if shared is not None and rank and report[1] == shared.fingerprint:
                    others.append(report[lanes:])
            self._name(rank, "gone", not report[0], f"rank {rank} is not watched any more")
            self._name(
                rank, "layers", bool(report[0]) and report[1] != reports[0][1],
                f"rank {rank} has other layers: its activations are not counted",
            )  # fmt: skip
        if len(reports) <= MOST_LANES:
            for rank, rows in heard.items():
                for place, lane in enumerate(LANES):
                    self._scalars.add_to_last(f"{lane}@{rank}", rows[:, place])
                if shared is not None:
                    self._scalars.add_to_last(f"nonfinite@{rank}", reports[rank][2:3])
        self._name_worst(heard, {rank: reports[rank][2] for rank in heard})
        if shared is not None:
            shared.merge(others)

    def _name_worst(self, heard: Mapping[int, Floats], nonfinite: Mapping[int, float]) -> None:
        """Add events for ranks that differ from the others."""
        bad = [rank for rank, rows in heard.items() if not np.isfinite(rows[:, 0]).all()]
        if len(bad) < len(heard):
            for rank in bad:
                self._name(rank, "loss", True, f"the loss of rank {rank} is not finite")
        worst = max(nonfinite, key=lambda rank: nonfinite[rank])
        others = [count for rank, count in nonfinite.items() if rank != worst]
        self._name(
            worst, "values", bool(others) and nonfinite[worst] > 0 and not any(others),
            f"{nonfinite[worst]:,.0f} activations of rank {worst} are not finite, and no others",
        )  # fmt: skip
        for rank, rows in heard.items():
            self._to_loss.setdefault(rank, deque(maxlen=JUDGED)).extend(rows[:, 2])
        times = {rank: float(np.median(self._to_loss[rank])) for rank in heard}
        if len(times) < 2 or min(len(self._to_loss[rank]) for rank in heard) < JUDGED:
            return
        slowest = max(times, key=lambda rank: times[rank])
        rest = float(np.median([t for rank, t in times.items() if rank != slowest]))
        self._name(
            slowest, "slow", times[slowest] > max(SLOW * rest, rest + NOTICEABLE),
            f"rank {slowest} takes {1e3 * times[slowest]:.0f} ms to compute its loss, the others"
            f" {1e3 * rest:.0f} ms; all wait for it",
        )  # fmt: skip

    def _name(self, rank: int, what: str, true: bool, message: str) -> None:
        """Record an event about a rank, once."""
        if true and (what, rank) not in self._named:
            self._named.add((what, rank))
            self._event(EventKind.RANKS, {"rank": rank, "message": message})


class FollowingRun(WatchedRun):
    """The run in another rank than 0: it records nothing, and reports to rank 0."""

    def __init__(self, options: WatchOptions, controls: RankControls) -> None:
        self._options, self._controls, self._watcher = options, controls, controls
        self.cadence = Cadence(options.every)
        self._meetings = Meetings() if dist.is_initialized() else None
        self._together: bool | None = None if self._meetings is not None else False
        self._steps = _Steps()
        self._made, self._next = 0, 0
        self._measured_next = options.every != "never"
        self._closed = False
        self.classes = options.classes
        self._previous_hook = sys.excepthook
        sys.excepthook = self._uncaught

    @property
    def folder(self) -> Any:
        """None: only rank 0 has one."""
        return None

    @property
    def step(self) -> int:
        """Number of updates made."""
        return self._made

    def log(self, **values: Any) -> None:
        """Do nothing: rank 0 records what it logs itself."""

    def validation(self, **values: Any) -> None:
        """Do nothing: rank 0 records what it logs itself."""

    def describe(self, *parts: Part) -> None:
        """Do nothing: rank 0 does."""

    def gradient_known(self) -> None:
        self._steps.loss_known()

    def skip_step(self) -> None:
        """Do nothing: rank 0 records it."""

    def close(self) -> None:
        """Measure no more; rank 0 hears of it at the next meeting."""
        if not self._closed:
            self._closed = True
            self._controls.detach()
            if sys.excepthook == self._uncaught:
                sys.excepthook = self._previous_hook

    def failed(self, error: BaseException) -> None:
        """Measure no more, with one line."""
        if not self._closed:
            print(
                f"tuilab: rank {dist.get_rank() if dist.is_initialized() else '?'} is no longer"
                f" watched, because of {type(error).__name__}: {error}",
                file=sys.stderr,
                flush=True,
            )
            self.close()

    def _note_error(self, error: BaseException) -> None:
        """Do nothing: rank 0 records how it ended."""

    def __repr__(self) -> str:
        return f"<tuilab run, recorded by rank 0: {self.step} steps>"

    def end_step(self, values: Mapping[str, Any], measured: Measured | None, spent: float) -> bool:
        """End a step, with a meeting if there is to be one. Raises Stopped."""
        self._steps.end(values.get("loss", np.nan))
        return self._follow(None if measured is None else measured.shared)

    def pass_step(self) -> None:
        """Count a step that is not measured any more."""
        self._follow(None)

    def _follow(self, shared: SharedStatistics | None) -> bool:
        if self._together is None and self._meetings is not None:
            self._together = self._meetings.all_watch()
            if not self._together:
                self.close()
        step, self._made = self._made, self._made + 1
        if not self._together:
            return False
        if step == self._next:
            try:
                self._obey_rank_0(shared)
            except Stopped:
                raise
            except Exception as error:  # noqa: BLE001  (of the process group)
                self._together = False
                self.failed(error)
        return self._measured_next and self._made == self._next

    def _obey_rank_0(self, shared: SharedStatistics | None) -> None:
        assert self._meetings is not None
        if self._watcher.uneven():
            self._together = False
            self.close()
            return
        report = _report(self._steps.take(), shared)
        order = self._meetings.broadcast()
        if order.state == RunState.FINISHED:
            self._together = False
            self.close()
            return
        if self._closed or len(report) != order.size:
            report = np.zeros(order.size)
            report[0] = not self._closed
        self._meetings.gather(report)
        self._apply_all(order)
        while order.state == RunState.PAUSED:
            order = self._meetings.broadcast()
            self._apply_all(order)
        self._next, self._measured_next = order.next, order.measured
        self._steps.resume()
        if order.state == RunState.STOPPED:
            self._together = False
            self._end_training()

    def _apply_all(self, order: Order) -> None:
        for command in order.commands:
            if not self._closed:
                self._controls.apply(Command(**command))


def begin_run(
    options: WatchOptions, controls: RankControls, source: Source, compute: Compute
) -> WatchedRun:
    """Return what records a program: where several ranks train together, only rank 0 does.

    Ranks that have no process group yet do not hear of each other.
    """
    if dist.is_available() and dist.is_initialized():
        if dist.get_world_size() == 1:
            return WatchedRun(options, controls, source, compute)
        if dist.get_rank() == 0:
            return LeadingRun(options, controls, source, compute)
        return FollowingRun(options, controls)
    if os.environ.get("RANK", "0") != "0" and "MASTER_ADDR" in os.environ:
        return FollowingRun(options, controls)
    return WatchedRun(options, controls, source, compute)
