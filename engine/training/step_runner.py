"""How a step is made: at once and operation by operation, or asked for and told of later.

The trainer asks for steps and takes in those that were made, whichever way that is done.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engine.backends.base import Host
from engine.statistics.frames import Snapshot
from engine.training.training_step import StepResult, TrainingStep

if TYPE_CHECKING:
    from engine.cuda_graph.launcher import Launcher


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """A step that was made. Where its loss is not finite, it changed no parameter."""

    step: int
    rate: float  # the learning rate it was made with
    rows: Host  # examples of its batch
    result: StepResult
    snapshot: Callable[[], Snapshot] | None = None  # reads its statistics, if it was measured
    probing: float = 0.0  # seconds that statistics took


class StepRunner(Protocol):
    """Makes the steps of one TrainingStep; its length is how many are on their way."""

    def __len__(self) -> int: ...

    def prepare(self) -> None:
        """Make ready for steps with the hyper-parameters as they are now.

        Raises NotPlannedError where another way must be found to make them.
        """

    def make(self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool) -> bool:
        """Make step number `step` with these examples (batch,), after `epoch` epochs, or begin to.

        Return whether it will have statistics. `ends_epoch` takes stock of the units that were
        silent all the epoch.
        """

    def made(self, *, wait: bool) -> Iterator[CompletedStep]:
        """Yield the steps that are made, in order; all that were asked for if `wait`."""

    def return_to(self, made: CompletedStep) -> None:
        """Bring back activations and gradients of a step whose loss was not finite.

        Those asked for after it are forgotten; they changed nothing either.
        """


class EagerStepRunner:
    """Makes each step at once, operation by operation: the reference for all other ways."""

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._made: deque[CompletedStep] = deque()

    def __len__(self) -> int:
        return len(self._made)

    def prepare(self) -> None:
        """Do nothing: hyper-parameters are read when a step is made."""

    def make(self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool) -> bool:
        rate = self._step.hyper.rate
        self._step.take(rows)
        result = self._step.gradients()
        if not np.isfinite(result.loss):
            self._made.append(CompletedStep(step, rate, rows, result))
            return False
        snapshot, probing = self._update(step, epoch, measure, ends_epoch)
        told = None if snapshot is None else lambda: snapshot
        self._made.append(CompletedStep(step, rate, rows, result, told, probing))
        return snapshot is not None

    def _update(
        self, step: int, epoch: float, measure: bool, ends_epoch: bool
    ) -> tuple[Snapshot | None, float]:
        """Update the parameters, with a snapshot around it if `measure`; and its seconds."""
        probes, begin = self._step.probes, perf_counter()
        if probes is not None:
            probes.silent.update()
            if ends_epoch:
                probes.silent.end_epoch()
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

    def made(self, *, wait: bool) -> Iterator[CompletedStep]:
        while self._made:
            yield self._made.popleft()

    def return_to(self, made: CompletedStep) -> None:
        """Do nothing: they are still there."""


class StepRunnerChoice:
    """Finds the way to make the steps of a TrainingStep, anew when that was rebuilt.

    `reason` says why steps are not asked for ahead, where a GPU is there and they are not.
    """

    def __init__(self, launcher: "Launcher | None", reason: str = "") -> None:
        """`launcher` is None on a back-end without one; `reason` says why, if that is a fault."""
        self._launcher, self._no_launcher = launcher, reason
        self._of: TrainingStep | None = None
        self.steps: StepRunner | None = None
        self.reason = ""

    def of(self, step: TrainingStep) -> StepRunner:
        """Return what makes the steps of `step`; all steps of another must be made by then."""
        if self.steps is None or step is not self._of:
            self.forget()  # its memory may be needed for the next
            self._of, self.steps = step, self._found(step)
        elif self._launcher is not None and not self.steps and not self._ready(self.steps):
            self.steps = None
            self.steps = self._eager(step)
        return self.steps

    def forget(self) -> None:
        """Let go of all that was found: what it is made of is about to be built anew."""
        self._of = self.steps = None

    def _found(self, step: TrainingStep) -> StepRunner:
        self.reason = self._no_launcher
        if self._launcher is None:
            return EagerStepRunner(step)
        from engine.cuda_graph.plan import (
            NotPlannedError,  # which a start without a GPU shall not load
        )
        from engine.cuda_graph.step_queue import StepQueue

        try:
            return StepQueue(step, self._launcher)
        except NotPlannedError as error:
            self.reason = str(error)
        return self._eager(step)

    def _ready(self, steps: StepRunner) -> bool:
        """Prepare `steps`, of which none is on its way; return whether they can be made so."""
        from engine.cuda_graph.plan import NotPlannedError

        try:
            steps.prepare()
        except NotPlannedError as error:
            self.reason = str(error)
            return False
        return True

    def _eager(self, step: TrainingStep) -> StepRunner:
        """Return the way that always works, with the memory that another one left."""
        gc.collect()
        return EagerStepRunner(step)
