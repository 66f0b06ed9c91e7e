"""Steps that are submitted ahead of the device; their results arrive later.

A step is one small packet to the device, one graph, and one small copy back. The host waits only
when the device is DEPTH steps behind. Statistics are copied back in the same way, into SNAPSHOTS
buffers: if all of these are in use, a snapshot is dropped, but never a step.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from engine.backends.base import Host
from engine.cuda_graph.launcher import Fence, Launcher, refusing
from engine.cuda_graph.plan import Item, LaunchPlan
from engine.cuda_graph.sources import SCALARS
from engine.cuda_graph.statistics import Statistics
from engine.cuda_graph.step_plan import Memory, StepPlan, Switches, scalars_of
from engine.training.step_runner import CompletedStep
from engine.training.training_step import StepResult, TrainingStep

DEPTH: Final = 32
"""Steps that may be in flight; also the greatest delay of a command, in steps."""
SNAPSHOTS: Final = 8
"""Snapshots that may be in flight."""
SMOOTHING: Final = 0.1
"""Weight of the newest step in the average time of a step without statistics."""


@dataclass(slots=True)
class _InFlight:
    """A step that was submitted and has not been collected."""

    step: int
    epoch: float
    rate: float
    rows: Host
    slot: int
    before: Fence
    after: Fence
    words: int | None  # index of the buffer for its statistics
    dead_fraction: Host


class StepQueue:
    """Runs the steps of a TrainingStep on a device. Raises NotPlannedError if it cannot."""

    def __init__(self, step: TrainingStep, launcher: Launcher) -> None:
        self._step, self._launcher = step, launcher
        with refusing(launcher):
            self._build()

    def _build(self) -> None:
        step, launcher = self._step, self._launcher
        backend, batch = step.network.backend, step.network.batch_shape[0]
        self._memory = Memory(backend, batch)
        self._plan = StepPlan(step, self._memory, launcher)
        self._statistics = (
            Statistics(step.probes, step.network, launcher) if step.probes is not None else None
        )
        self._packets = launcher.pinned((DEPTH, len(SCALARS) + batch), np.float64)
        self._results = launcher.pinned((DEPTH, 3), np.float64)
        words = self._statistics.words.size if self._statistics is not None else 1
        self._words = launcher.pinned((SNAPSHOTS, words), np.float64)
        self._graphs: dict[tuple[Switches, bool], tuple[Callable[[], None], LaunchPlan]] = {}
        self._in_flight: deque[_InFlight] = deque()
        self._free = list(range(SNAPSHOTS))
        self._slot = 0
        self._plain = 0.0  # average seconds of a step without statistics
        self._warm_up()

    def __len__(self) -> int:
        return len(self._in_flight)

    def plan(self, switches: Switches, *, measure: bool) -> list[Item]:
        """Return the items of a step, with or without those of the statistics."""
        statistics = self._statistics if measure else None
        items = list(self._plan.gradients(switches))
        if statistics is not None:
            items.append(statistics.before_update())
        items += self._plan.update(switches)
        if statistics is not None:
            items += statistics.after_update()
        return items

    def _warm_up(self) -> None:
        """Load every kernel, which must not happen during a capture, without changing anything.

        `alive` is still 0. An EagerCall may change running averages and noise, which are restored.
        """
        everything = Switches(penalty=True, clip_norm=True, max_norm=True)
        with self._step.network.undisturbed():
            self._launcher.run(self.plan(everything, measure=self._statistics is not None))
        self.prepare()
        self._memory.alive.fill(1)

    def prepare(self) -> None:
        """Capture the graphs for the current hyper-parameters, unless that was done before.

        Raises NotPlannedError; steps that are in flight are completed nevertheless.
        """
        self._prepared()

    def _prepared(self) -> Switches:
        """Return the switches of the next step, after capturing its graphs."""
        switches = Switches.of(self._step.hyper, self._step.optimizer_kind)
        if (switches, False) not in self._graphs:
            with refusing(self._launcher):
                self._capture(switches)
        return switches

    def _capture(self, switches: Switches) -> None:
        """Capture the graphs with these switches, and test each while it cannot change anything."""
        alive, xp = self._memory.alive, self._step.network.backend.xp
        before = alive.copy()
        alive.fill(0)
        try:
            graphs = {}
            for measure in (False, True)[: 1 if self._statistics is None else 2]:
                plan = self.plan(switches, measure=measure)
                # The plan keeps the arrays alive; a graph has only their addresses.
                graphs[switches, measure] = graph, _ = self._launcher.capture(plan), plan
                graph()
                self._launcher.fence().wait()  # only here does a faulty kernel show
        finally:
            xp.copyto(alive, before)
        self._graphs |= graphs

    def submit(
        self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool = False
    ) -> bool:
        """Submit a step; see StepRunner.

        Call `completed` between two steps: it makes room. There are no statistics while those of
        SNAPSHOTS steps are in flight. `ends_epoch` waits for the step. Raises NotPlannedError, as
        `prepare` does, before anything has changed.
        """
        switches = self._prepared()
        measure = measure and self._statistics is not None and bool(self._free)
        graph, _ = self._graphs[switches, measure]
        slot, self._slot = self._slot, (self._slot + 1) % DEPTH
        launcher, memory = self._launcher, self._memory
        self._fill(self._packets[slot], rows)
        launcher.upload(self._packets[slot], memory.packet)
        before = launcher.fence()
        graph()
        launcher.download(memory.result, self._results[slot])
        words = None
        if measure and self._statistics is not None:
            words = self._free.pop()
            launcher.download(self._statistics.words, self._words[words])
        after, rate = launcher.fence(), self._step.hyper.rate
        dead = self._dead_fraction(ends_epoch)
        rows = rows.copy()  # may be a view of an order that will be shuffled again
        self._in_flight.append(_InFlight(step, epoch, rate, rows, slot, before, after, words, dead))
        return measure

    def _fill(self, packet: Host, rows: Host) -> None:
        updates = self._updates()
        updates += 1
        hyper, optimizer = self._step.hyper, self._step.optimizer_kind
        packet[: len(SCALARS)] = scalars_of(hyper, optimizer, int(updates[0]))
        packet[len(SCALARS) :].view(np.int64)[:] = rows

    def _updates(self) -> Host:
        """Return the optimiser's own count of updates, shape (1,), or a zero if it has none."""
        count = self._step.optimizer.state.get("step")
        return np.zeros(1, np.int64) if count is None else np.asarray(count)

    def _dead_fraction(self, ends_epoch: bool) -> Host:
        if self._step.probes is None:
            return np.zeros(0)
        if ends_epoch:
            self._step.probes.dead_units.end_epoch()
        return self._step.probes.dead_units.fraction.copy()

    def completed(self, *, wait: bool = False) -> Iterator[CompletedStep]:
        """Yield the steps that are complete, in order; all that were submitted if `wait`.

        Waits for one step if DEPTH are in flight.
        """
        return self.down_to(0 if wait else DEPTH - 1)

    def down_to(self, at_most: int) -> Iterator[CompletedStep]:
        """Yield complete steps, and wait for more while more than `at_most` are in flight."""
        queue = self._in_flight
        while queue and (len(queue) > at_most or queue[0].after.done):
            queue[0].after.wait()
            yield self._collect(queue.popleft())

    def _collect(self, step: _InFlight) -> CompletedStep:
        seconds = step.after.seconds_since(step.before)
        snapshot, probing = None, 0.0
        if step.words is None or self._statistics is None:
            self._plain += SMOOTHING * (seconds - self._plain) if self._plain else seconds
        else:
            probing = max(0.0, seconds - self._plain) if self._plain else 0.0
            words = self._words[step.words].copy()
            snapshot = partial(
                self._statistics.snapshot, words, step.step, step.epoch, step.dead_fraction
            )
            self._free.append(step.words)
        result = StepResult(*self._results[step.slot].tolist())
        return CompletedStep(step.step, step.rate, step.rows, result, snapshot, probing)

    def roll_back(self, completed: CompletedStep) -> None:
        """Drop all steps in flight, and compute the gradients of the completed step again."""
        if self._in_flight:
            self._in_flight[-1].after.wait()
        updates = self._updates()
        updates -= len(self._in_flight) + 1
        self._in_flight.clear()
        with self._step.network.undisturbed():
            self._step.take(completed.rows)
            self._step.gradients()
