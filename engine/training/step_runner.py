"""Runs training steps: at once and operation by operation, or ahead of the host on a device.

The trainer submits steps and collects those that are complete, whichever way they are run.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np

from engine.backends.base import Host
from engine.errors import NotPlannedError
from engine.statistics.frames import Snapshot
from engine.training.training_step import StepResult, TrainingStep


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """A step and its result. If its loss is not finite, it changed no parameter."""

    step: int
    rate: float  # the learning rate that was used
    rows: Host  # examples of its batch
    result: StepResult
    snapshot: Callable[[], Snapshot] | None = None  # reads its statistics, if it was measured
    probing: float = 0.0  # seconds that statistics took


class StepRunner(Protocol):
    """Runs the steps of one TrainingStep; its length is the number of steps not yet collected."""

    def __len__(self) -> int: ...

    def prepare(self) -> None:
        """Get ready for steps with the current hyper-parameters.

        Raises NotPlannedError if another runner is needed for them.
        """

    def submit(
        self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool
    ) -> bool:
        """Run step number `step` on these examples (batch,), after `epoch` epochs, or start it.

        Return whether it will have statistics. `ends_epoch` also determines the units that were
        dead in the epoch.
        """

    def completed(self, *, wait: bool) -> Iterator[CompletedStep]:
        """Yield the steps that are complete, in order; all that were submitted if `wait`."""

    def roll_back(self, completed: CompletedStep) -> None:
        """Restore the activations and gradients of a step whose loss was not finite.

        Steps that were submitted after it are dropped; they changed no parameter either.
        """


class EagerStepRunner:
    """Runs each step at once, operation by operation: the reference for all other ways."""

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._completed: deque[CompletedStep] = deque()

    def __len__(self) -> int:
        return len(self._completed)

    def prepare(self) -> None:
        """Do nothing: a step reads the hyper-parameters when it runs."""

    def submit(
        self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool
    ) -> bool:
        rate = self._step.hyper.rate
        self._step.take(rows)
        result = self._step.gradients()
        if not np.isfinite(result.loss):
            self._completed.append(CompletedStep(step, rate, rows, result))
            return False
        snapshot, probing = self._update(step, epoch, measure, ends_epoch)
        read = None if snapshot is None else lambda: snapshot
        self._completed.append(CompletedStep(step, rate, rows, result, read, probing))
        return snapshot is not None

    def _update(
        self, step: int, epoch: float, measure: bool, ends_epoch: bool
    ) -> tuple[Snapshot | None, float]:
        """Update the parameters; return a snapshot if `measure`, and the seconds of statistics."""
        probes, begin = self._step.probes, perf_counter()
        if probes is not None:
            probes.dead_units.update()
            if ends_epoch:
                probes.dead_units.end_epoch()
        if probes is None or not measure:
            between = perf_counter()
            self._step.update()
            return None, between - begin
        probes.start()
        between = perf_counter()
        self._step.update()
        updated = perf_counter()
        snapshot = probes.finish(step, epoch)
        return snapshot, between - begin + perf_counter() - updated

    def completed(self, *, wait: bool) -> Iterator[CompletedStep]:
        while self._completed:
            yield self._completed.popleft()

    def roll_back(self, completed: CompletedStep) -> None:
        """Do nothing: the activations and gradients are still there."""


class StepRunnerChoice:
    """The step runner in use: that of the device where it can run the step, else the eager one.

    `reason` is why steps are run eagerly although there is a GPU, or "".
    """

    def __init__(
        self, on_device: Callable[[TrainingStep], StepRunner] | None, reason: str = ""
    ) -> None:
        """`on_device` makes the runner of a device; it raises NotPlannedError where it cannot.

        It is None on a back-end without a device; `reason` is why, if a GPU ought to work.
        """
        self._on_device, self._no_device = on_device, reason
        self._step: TrainingStep | None = None
        self.current: StepRunner | None = None
        self.reason = ""

    def choose(self, step: TrainingStep) -> StepRunner:
        """Return the runner for `step`: the current one, or a new one if `step` is another.

        All steps that were submitted to the current one must be collected by then.
        """
        if self.current is None or step is not self._step:
            self.forget()  # its memory may be needed for the next
            self._step, self.current = step, self._made(step)
        elif self._on_device is not None and not self.current and not self._prepared(self.current):
            self.current = None
            self.current = self._eager(step)
        return self.current

    def forget(self) -> None:
        """Drop the current runner: the arrays that it uses are about to be replaced."""
        self._step = self.current = None

    def _made(self, step: TrainingStep) -> StepRunner:
        self.reason = self._no_device
        if self._on_device is None:
            return EagerStepRunner(step)
        try:
            return self._on_device(step)
        except NotPlannedError as error:
            self.reason = str(error)
        return self._eager(step)

    def _prepared(self, runner: StepRunner) -> bool:
        """Prepare a runner that has no steps in flight; return False if it cannot run the next."""
        try:
            runner.prepare()
        except NotPlannedError as error:
            self.reason = str(error)
            return False
        return True

    def _eager(self, step: TrainingStep) -> StepRunner:
        """Return an eager runner, after freeing the memory of the runner that it replaces."""
        gc.collect()
        return EagerStepRunner(step)
