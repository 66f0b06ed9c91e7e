"""The loop: steps, frames at display cadence, commands between steps."""

from collections.abc import Collection, Iterator, Sequence
from queue import SimpleQueue
from typing import Final

import numpy as np

from engine.backends.base import Backend, make_backend
from engine.commands import Command
from engine.data.augment import Augmentation
from engine.data.batches import check_batch_size
from engine.data.dataset import Dataset
from engine.errors import CheckpointError, TuilabError
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network.network import BoundNetwork, Network
from engine.optimization.optimizers import SGD, Optimizer
from engine.optimization.schedules import BoundSchedule, Constant, Schedule
from engine.statistics.frame_builder import FrameBuilder
from engine.statistics.frames import Event, Frame, LayerInfo, TrainingStatus, Validation, divergence
from engine.training.before_first_step import look_for_silent_units, start_from_data
from engine.training.bound_training import Resources
from engine.training.changes import CHANGES
from engine.training.checkpoint import Checkpoint
from engine.training.clock import Clock
from engine.training.random_streams import stream
from engine.training.run_control import RunControl
from engine.training.step_runner import StepRunner, StepRunnerChoice
from engine.training.training_config import TrainingConfig, total_steps
from engine.training.training_step import StepResult, TrainingStep
from engine.training.workbench import Workbench

__all__ = ["Command", "Trainer"]
STREAMS: Final = ("weights", "dropout", "augment", "shuffle")
"""The random streams that training draws from; those of the data set are its source's."""


class Trainer:
    """Trains `network` on `data`; iterate over `frames` to make it happen.

    Give either `epochs` or `steps`. `batch_size` None means the whole training split; examples
    that do not fill a batch are left out of an epoch, others each time, for it is shuffled anew.
    `snapshot_at` are steps whose statistics are wanted in any case. `augment` changes the images of
    training batches, and of nothing else. Raises ConfigError, ShapeError.
    """

    def __init__(
        self,
        network: Network,
        data: Dataset,
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        backend: Backend | None = None,
        probes: bool = True,
        snapshot_at: Collection[int] = (),
        augment: Sequence[Augmentation] = (),
    ) -> None:
        size = len(data.train) if batch_size is None else batch_size
        self.data, self.backend = data, backend or make_backend("numpy")
        optimizer = optimizer or SGD()
        self.hyperparameters = optimizer.hyperparameters()
        fixture = Resources.of(
            data,
            loss=loss or SoftmaxCrossEntropy(),
            optimizer=optimizer,
            hyperparameters=self.hyperparameters,
            streams={name: stream(seed, name) for name in STREAMS},
            backend=self.backend,
            probes=probes,
            augment=augment,
        )
        check_batch_size(size, len(data.train))
        self.total_steps = total_steps(steps, epochs, len(data.train) // size)
        setup = TrainingConfig(network, size, schedule or Constant())
        self._bench = Workbench(setup, fixture, self.total_steps)
        self._snapshot_at = frozenset(snapshot_at) | {0, self.total_steps - 1}
        self.step = 0
        self._pacing = RunControl(lambda: self._bench.now.steps_left(self.step))
        self._pace = Clock()
        self._next = FrameBuilder(self._pace)
        self.ahead = StepRunnerChoice(self.backend.launcher, self.backend.instead)
        """How steps are made, on a GPU ahead of it; and why not, where they are not."""

    @property
    def network(self) -> BoundNetwork:
        """The network as it stands; a change of what is trained makes another."""
        return self._bench.now.network

    @property
    def training_step(self) -> TrainingStep:
        """What makes the steps; a change of what is trained makes another."""
        return self._bench.now.step

    @property
    def setup(self) -> TrainingConfig:
        """The description of what is trained; a change of it makes another."""
        return self._bench.now.setup

    @property
    def batch_size(self) -> int:
        """Examples in a batch, as it stands."""
        return self._bench.now.batches.size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, as it stands."""
        return self._bench.now.batches.per_epoch

    @property
    def _schedule(self) -> BoundSchedule:
        return self._bench.now.schedule

    @property
    def state(self) -> str:
        """One of running, paused, finished, diverged, stopped."""
        return self._pacing.state

    def checkpoint(self) -> Checkpoint:
        """Copy everything that the steps to come depend on; between two frames, not within one."""
        self._caught_up()
        return self._bench.copy(self.step, self._pace.elapsed(), self.total_steps)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue after the steps of `checkpoint`; before `frames`. Raises CheckpointError.

        What was changed by command before it is changed again.
        """
        if checkpoint.step >= self.total_steps:
            raise CheckpointError(
                f"nothing is left to train: the checkpoint is after step {checkpoint.step}, "
                f"the run ends after {self.total_steps}"
            )
        self._bench.put_back(checkpoint)
        if self.training_step.probes is not None:
            self.training_step.probes.silent.look_again()
        self.step, self._pace.before = checkpoint.step, checkpoint.seconds
        detail: dict[str, object] = {}
        if checkpoint.total_steps not in (0, self.total_steps):
            detail = {"total_steps": self.total_steps, "previous": checkpoint.total_steps}
        self._next.events.append(Event(self.step, checkpoint.seconds, "resumed", detail))

    def plan(self, total_steps: int) -> None:
        """Let the schedule count on so many steps from now on; how many are made stays the same."""
        self._bench.plan(total_steps)

    @property
    def layers(self) -> list[LayerInfo]:
        """What the layers are, as the lecture counts them."""
        return self._bench.now.layers

    @property
    def standing(self) -> TrainingStatus:
        """What is trained and how, as it stands."""
        return self._bench.now.standing(self._pacing.limit)

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction."""
        return self.setup.epoch(self.step, self.steps_per_epoch)

    def frames(
        self, inbox: "SimpleQueue[Command] | None" = None, interval: float = 0.1
    ) -> Iterator[Frame]:
        """Train to the end, yielding a frame every `interval` seconds and one at the end.

        Step 0 and applied commands are told at once. Commands come from `inbox`, between steps;
        while paused, the loop waits there.
        """
        inbox = inbox or SimpleQueue()
        self._pace.begin(interval)
        if not self.step:
            self._begin()
        self._pace.resume()
        while not self._pacing.over:
            self._take_commands(inbox)
            if not self._pacing.over and not self._pacing.resting:
                self._hold_back(inbox)
            if self.state in ("finished", "stopped"):
                self._next.batch_dependence = self._bench.now.batch_dependence(self.step)
            due = self._pace.frame_due() and not self._next.is_empty
            if self._next.events or self.step == 1 or due:
                yield self._frame()
        if not self._next.is_empty:
            yield self._frame()

    def _begin(self) -> None:
        """Do and measure what comes before the first update."""
        start_from_data(self.training_step, self._bench.now.batches)
        self._next.batch_dependence = self._bench.now.batch_dependence(self.step)
        look_for_silent_units(self.training_step, self._bench.now.batches)
        self._validate()

    def _frame(self) -> Frame:
        made = self.step - len(self._steps())  # whose results are known
        epoch = self.setup.epoch(made, self.steps_per_epoch)
        return self._next.build(made, epoch, self.hyperparameters, self.state)

    def refusal(self, command: Command) -> str:
        """Return why `command` cannot be applied, or ""."""
        try:
            if command.kind in CHANGES:
                self._bench.changed(command, self.step)
            elif command.kind in ("set", "scale"):
                self.hyperparameters.changed(command)
        except TuilabError as error:
            return str(error)
        return self._pacing.refusal(command)

    def _take_commands(self, inbox: "SimpleQueue[Command]") -> None:
        idle = self._pacing.resting and not self._next.events
        while idle or not inbox.empty():
            self._apply(inbox.get())
            if idle:  # what was waited for is no training time
                self._pace.resume()
                idle = False

    def _hold_back(self, inbox: "SimpleQueue[Command]") -> None:
        """Make a step when the speed limit allows one, unless a command comes first."""
        if (command := self._pacing.wait(inbox)) is not None:
            self._apply(command)
        else:
            self._advance()

    def _apply(self, command: Command) -> None:
        """Do what a command says, and tell of it; or tell why it could not be done."""
        if not self._caught_up():  # it has diverged before
            return
        try:
            detail = self._carry_out(command)
        except (TuilabError, MemoryError) as error:
            reason = str(error) or "there is not enough memory"
            self._next.happened(self.step, "refused", {"command": command.kind, "reason": reason})
        else:
            kind = "set" if command.kind == "scale" else command.kind
            self._next.happened(self.step, kind, detail)
            self._next.standing = self.standing

    def _carry_out(self, command: Command) -> dict[str, object]:
        if command.kind in CHANGES:
            self.ahead.forget()
            return self._bench.change(command, self.step)
        if command.kind in ("set", "scale"):
            return self.hyperparameters.change(command)
        return self._pacing.apply(command)

    def _advance(self) -> None:
        steps = self._steps()
        wanted = bool(self._next.events or self._pacing.watched or self.step in self._snapshot_at)
        if wanted and not self._caught_up():  # so that there is room for its statistics
            return
        probes, ends_epoch = self.training_step.probes, self._epoch_ends(self.step + 1)
        measure = probes is not None and (wanted or self._pace.snapshot_due())
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rows = self._bench.now.batches.of_step(self.step)
            self.hyperparameters.factor = self._schedule.factor(self.step)
            if steps.make(self.step, self.epoch, rows, measure=measure, ends_epoch=ends_epoch):
                self._pace.snapshot_asked()
        self.step += 1
        if not self._caught_up(wait=wanted or ends_epoch or self.step >= self.total_steps):
            return
        if ends_epoch:
            self._validate()
        if self._pacing.step_made(epoch_ended=ends_epoch):
            self._next.happened(self.step, "pause", {"epoch": self.epoch})
        if self.step >= self.total_steps:
            self._pacing.end("finished")

    def _epoch_ends(self, step: int) -> bool:
        return self.setup.epoch_ends(step, self.steps_per_epoch)

    def _steps(self) -> StepRunner:
        """Return what makes the steps, and tell of it where a GPU cannot ask for them ahead."""
        known, steps = self.ahead.steps, self.ahead.of(self.training_step)
        if steps is not known and self.ahead.reason:
            self._next.happened(self.step, "eager", {"reason": self.ahead.reason})
        return steps

    def _caught_up(self, *, wait: bool = True) -> bool:
        """Take in the steps that were made, all if `wait`; tell whether training can go on."""
        for made in self._steps().made(wait=wait):
            self._next.step_made(made.result, made.rate)
            if not np.isfinite(made.result.loss):
                self.step = made.step + 1
                with np.errstate(all="ignore"):
                    self._steps().return_to(made)
                    self._diverge(made.result, made.step)
                return False
            self._pace.step_made(made.probing, measured=made.snapshot is not None)
            if made.snapshot is not None:
                self._next.snapshot = made.snapshot()
                self._pace.snapshot_taken(made.probing)
        return True

    def _diverge(self, result: StepResult, step: int) -> None:
        """Stop at a loss that is not finite, and say where it came from."""
        snapshot = None
        if (probes := self.training_step.probes) is not None:
            probes.start()
            epoch = self.setup.epoch(step, self.steps_per_epoch)
            snapshot = probes.finish(step, epoch, updated=False)
            self._next.snapshot = snapshot
        detail = divergence(result.loss, step, snapshot, self.layers)
        self._pacing.end("diverged")
        self._next.happened(step, "diverged", detail)

    def _validate(self) -> None:
        if (evaluate := self._bench.now.evaluate) is not None:
            found = Validation(self.step, self.epoch, *evaluate())
            self._schedule.validated(found.loss)
            self._next.validations.append(found)
