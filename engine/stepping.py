"""How a step is made: at once and operation by operation, or asked for and told of later.

The trainer asks for steps and takes in those that were made, whichever way that is done.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engine.backend import Host
from engine.frames import Snapshot
from engine.step import Result, TrainingStep

if TYPE_CHECKING:
    from engine.gpu.launcher import Launcher


@dataclass(frozen=True, slots=True)
class Made:
    """A step that was made. Where its loss is not finite, it changed no parameter."""

    step: int
    rate: float  # the learning rate it was made with
    rows: Host  # examples of its batch
    result: Result
    snapshot: Callable[[], Snapshot] | None = None  # reads its statistics, if it was measured
    probing: float = 0.0  # seconds that statistics took


class Steps(Protocol):
    """Makes the steps of one TrainingStep; its length is how many are on their way."""

    def __len__(self) -> int: ...

    def make(self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool) -> bool:
        """Make step number `step` with these examples (batch,), after `epoch` epochs, or begin to.

        Return whether it will have statistics. `ends_epoch` takes stock of the units that were
        silent all the epoch.
        """

    def made(self, *, wait: bool) -> Iterator[Made]:
        """Yield the steps that are made, in order; all that were asked for if `wait`."""

    def return_to(self, made: Made) -> None:
        """Bring back activations and gradients of a step whose loss was not finite.

        Those asked for after it are forgotten; they changed nothing either.
        """


class EagerSteps:
    """Makes each step at once, operation by operation: the reference for all other ways."""

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._made: deque[Made] = deque()

    def __len__(self) -> int:
        return len(self._made)

    def make(self, step: int, epoch: float, rows: Host, *, measure: bool, ends_epoch: bool) -> bool:
        rate = self._step.hyper.rate
        self._step.take(rows)
        result = self._step.gradients()
        if not np.isfinite(result.loss):
            self._made.append(Made(step, rate, rows, result))
            return False
        snapshot, probing = self._update(step, epoch, measure, ends_epoch)
        told = None if snapshot is None else lambda: snapshot
        self._made.append(Made(step, rate, rows, result, told, probing))
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

    def made(self, *, wait: bool) -> Iterator[Made]:
        while self._made:
            yield self._made.popleft()

    def return_to(self, made: Made) -> None:
        """Do nothing: they are still there."""


class Ahead:
    """Finds the way to make the steps of a TrainingStep, anew when that was rebuilt.

    `reason` says why steps are not asked for ahead, where they are not.
    """

    def __init__(self, launcher: "Launcher | None") -> None:
        """`launcher` is None on a back-end without one."""
        self._launcher = launcher
        self._of: TrainingStep | None = None
        self.steps: Steps | None = None
        self.reason = ""

    def of(self, step: TrainingStep) -> Steps:
        """Return what makes the steps of `step`; all steps of another must be made by then."""
        if self.steps is None or step is not self._of:
            self.forget()  # its memory may be needed for the next
            self._of, self.steps = step, self._found(step)
        return self.steps

    def forget(self) -> None:
        """Let go of all that was found: what it is made of is about to be built anew."""
        self._of = self.steps = None

    def _found(self, step: TrainingStep) -> Steps:
        self.reason = ""
        if self._launcher is None:
            return EagerSteps(step)
        from engine.gpu.plan import NotPlannedError  # which a start without a GPU shall not load
        from engine.gpu.queue import StepQueue

        try:
            return StepQueue(step, self._launcher)
        except NotPlannedError as error:
            self.reason = str(error)
            return EagerSteps(step)
