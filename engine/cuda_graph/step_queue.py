"""Steps that are asked for ahead of the device, and whose results arrive later.

A step is one small packet to the device, one graph, and one small copy back; only where the device
is DEPTH steps behind does the host wait for it. Statistics come back the same way, into a few
places of their own: when these are all on their way a sample is dropped, never a step.
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
"""Steps that may be on their way: so much later, in steps, does a command act at most."""
SNAPSHOTS: Final = 8
"""Snapshots that may be on their way."""
KEPT: Final = 0.1
"""Share by which a step counts in the average time of a step without statistics."""


@dataclass(slots=True)
class _Asked:
    """A step on its way."""

    step: int
    epoch: float
    rate: float
    rows: Host
    slot: int
    before: Fence
    after: Fence
    words: int | None  # the place of its statistics
    dead_fraction: Host


class StepQueue:
    """Makes the steps of a TrainingStep on a device. Raises NotPlannedError where it cannot."""

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
        self._asked: deque[_Asked] = deque()
        self._free = list(range(SNAPSHOTS))
        self._slot = 0
        self._plain = 0.0  # average seconds of a step without statistics
        self._warm_up()

    def __len__(self) -> int:
        return len(self._asked)

    def plan(self, switches: Switches, *, measure: bool) -> list[Item]:
        """Return what a step launches; with statistics it is the same and theirs besides."""
        statistics = self._statistics if measure else None
        items = list(self._plan.gradients(switches))
        if statistics is not None:
            items.append(statistics.before_update())
        items += self._plan.update(switches)
        if statistics is not None:
            items += statistics.after_update()
        return items

    def _warm_up(self) -> None:
        """Load every kernel, which must not happen during a capture, and change nothing.

        For `alive` is 0 yet; what is run as it is written may touch running averages and noise.
        """
        everything = Switches(penalty=True, clip_norm=True, max_norm=True)
        with self._step.network.undisturbed():
            self._launcher.run(self.plan(everything, measure=self._statistics is not None))
        self.prepare()
        self._memory.alive.fill(1)

    def prepare(self) -> None:
        """Capture the graphs of the hyper-parameters as they are now, if there are none yet.

        Raises NotPlannedError; the steps that were asked for come all the same.
        """
        self._prepared()

    def _prepared(self) -> Switches:
        """Return what the next step does or leaves out; its graphs are captured."""
        switches = Switches.of(self._step.hyper, self._step.optimizer_kind)
        if (switches, False) not in self._graphs:
            with refusing(self._launcher):
                self._capture(switches)
        return switches

    def _capture(self, switches: Switches) -> None:
        """Capture the graphs with these switches, and try each where it changes nothing."""
        alive, xp = self._memory.alive, self._step.network.backend.xp
        before = alive.copy()
        alive.fill(0)
        try:
            graphs = {}
            for measure in (False, True)[: 1 if self._statistics is None else 2]:
                plan = self.plan(switches, measure=measure)
                # With its plan, for a graph knows addresses and keeps nothing alive there.
                graphs[switches, measure] = graph, _ = self._launcher.capture(plan), plan
                graph()
                self._launcher.mark().wait()  # a fault shows only here
        finally:
            xp.copyto(alive, before)
        self._graphs |= graphs

    def submit(
        self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool = False
    ) -> bool:
        """Ask for a step; see StepRunner.

        `completed` must be called between two steps: it makes room. No statistics while those of
        SNAPSHOTS steps are in flight. `ends_epoch` waits for the step. Raises NotPlannedError, with
        nothing done, where `prepare` would have.
        """
        switches = self._prepared()
        measure = measure and self._statistics is not None and bool(self._free)
        graph, _ = self._graphs[switches, measure]
        slot, self._slot = self._slot, (self._slot + 1) % DEPTH
        launcher, memory = self._launcher, self._memory
        self._fill(self._packets[slot], rows)
        launcher.upload(self._packets[slot], memory.packet)
        before = launcher.mark()
        graph()
        launcher.download(memory.result, self._results[slot])
        words = None
        if measure and self._statistics is not None:
            words = self._free.pop()
            launcher.download(self._statistics.words, self._words[words])
        after, rate = launcher.mark(), self._step.hyper.rate
        dead = self._dead_fraction(ends_epoch)
        rows = rows.copy()  # they may be a view of an order that is drawn anew
        asked = _Asked(step, epoch, rate, rows, slot, before, after, words, dead)
        self._asked.append(asked)
        return measure

    def _fill(self, packet: Host, rows: Host) -> None:
        updates = self._updates()
        updates += 1
        hyper, optimizer = self._step.hyper, self._step.optimizer_kind
        packet[: len(SCALARS)] = scalars_of(hyper, optimizer, int(updates[0]))
        packet[len(SCALARS) :].view(np.int64)[:] = rows

    def _updates(self) -> Host:
        """Return the optimiser's own count of updates, shape (1,); some keep none."""
        counted = self._step.optimizer.state.get("step")
        return np.zeros(1, np.int64) if counted is None else np.asarray(counted)

    def _dead_fraction(self, ends_epoch: bool) -> Host:
        if self._step.probes is None:
            return np.zeros(0)
        if ends_epoch:
            self._step.probes.dead_units.end_epoch()
        return self._step.probes.dead_units.fraction.copy()

    def completed(self, *, wait: bool = False) -> Iterator[CompletedStep]:
        """Yield the steps that the device has made, in order; all that were asked for if `wait`.

        Waits for one where DEPTH are on their way.
        """
        return self.down_to(0 if wait else DEPTH - 1)

    def down_to(self, at_most: int) -> Iterator[CompletedStep]:
        """Yield those that are made, and wait for others while more than so many are not."""
        asked = self._asked
        while asked and (len(asked) > at_most or asked[0].after.done):
            asked[0].after.wait()
            yield self._arrived(asked.popleft())

    def _arrived(self, asked: _Asked) -> CompletedStep:
        seconds = asked.after.seconds_since(asked.before)
        snapshot, probing = None, 0.0
        if asked.words is None or self._statistics is None:
            self._plain += KEPT * (seconds - self._plain) if self._plain else seconds
        else:
            probing = max(0.0, seconds - self._plain) if self._plain else 0.0
            words = self._words[asked.words].copy()
            snapshot = partial(
                self._statistics.snapshot, words, asked.step, asked.epoch, asked.dead_fraction
            )
            self._free.append(asked.words)
        result = StepResult(*self._results[asked.slot].tolist())
        return CompletedStep(asked.step, asked.rate, asked.rows, result, snapshot, probing)

    def roll_back(self, completed: CompletedStep) -> None:
        """Forget what is on its way, and make that step once more up to its gradients."""
        if self._asked:
            self._asked[-1].after.wait()
        updates = self._updates()
        updates -= len(self._asked) + 1
        self._asked.clear()
        with self._step.network.undisturbed():
            self._step.take(completed.rows)
            self._step.gradients()
