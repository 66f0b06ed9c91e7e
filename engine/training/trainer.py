"""The loop: steps, frames at display cadence, commands between steps."""

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Final

import numpy as np

from engine.backends import make_backend
from engine.backends.base import Backend
from engine.commands import Command
from engine.data.augmentation import Augmentation
from engine.data.batches import check_batch_size
from engine.data.dataset import Dataset
from engine.errors import CheckpointError, TuilabError
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network import BoundNetwork, Network
from engine.optimization.optimizers import SGD, Optimizer
from engine.optimization.schedules import BoundSchedule, Constant, Schedule
from engine.states import EventKind, RunState
from engine.statistics.frames import Event, Frame, LayerInfo, TrainingStatus, Validation, divergence
from engine.training.before_first_step import find_dead_units, start_from_data
from engine.training.bound_training import BoundTraining
from engine.training.changes import CHANGES
from engine.training.checkpoint import Checkpoint
from engine.training.clock import Clock
from engine.training.frame_builder import FrameBuilder
from engine.training.random_streams import stream
from engine.training.run_control import RunControl
from engine.training.step_runner import StepRunner, StepRunnerChoice
from engine.training.training_config import Resources, TrainingConfig, total_steps
from engine.training.training_step import StepResult, TrainingStep

STREAMS: Final = ("weights", "dropout", "augment", "shuffle")
"""The random streams that training draws from; the source of the data set has its own."""


class Trainer:
    """Trains `network` on `data`: iterate over `frames`.

    Give either `epochs` or `steps`. `batch_size` None means the whole training split. Every epoch
    is shuffled, and examples that do not fill a batch are left out of it. The steps `snapshot_at`
    are always measured, as are the first and the last. `augment` changes the images of training
    batches only. Raises ConfigError, ShapeError.
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
        self.loss = loss or SoftmaxCrossEntropy()
        self.inbox: SimpleQueue[Command] = SimpleQueue()
        """Where commands come from, unless `frames` is given another."""
        self.listeners: list[Callable[[Frame], None]] = []
        """Called with each frame before it is yielded, in the order of the list."""
        resources = Resources(
            data,
            train=data.train.on(self.backend),
            validation=data.validation and data.validation.on(self.backend),
            loss=self.loss,
            optimizer=optimizer,
            hyperparameters=self.hyperparameters,
            streams={name: stream(seed, name) for name in STREAMS},
            backend=self.backend,
            probes=probes,
            augment=augment,
        )
        check_batch_size(size, len(data.train))
        self.total_steps = total_steps(steps, epochs, len(data.train) // size)
        config = TrainingConfig(network, size, schedule or Constant())
        self._training = BoundTraining(config, resources, self.total_steps)
        self._snapshot_at = frozenset(snapshot_at) | {0, self.total_steps - 1}
        self.step = 0
        self._run_control = RunControl(lambda: self._training.steps_left(self.step))
        self._clock = Clock()
        self._next_frame = FrameBuilder(self._clock)
        launcher = self.backend.launcher
        self.step_runners = StepRunnerChoice(
            None if launcher is None else launcher.step_runner, self.backend.instead
        )
        """What runs the steps, on a GPU ahead of the host, and why it does not where it cannot."""

    @property
    def network(self) -> BoundNetwork:
        """The bound network; a change of what is trained makes another."""
        return self._training.network

    @property
    def training_step(self) -> TrainingStep:
        """The bound step; a change of what is trained makes another."""
        return self._training.step

    @property
    def config(self) -> TrainingConfig:
        """What is trained and how; a change of it makes another."""
        return self._training.config

    @property
    def batch_size(self) -> int:
        """Examples in a batch, now."""
        return self._training.batches.size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, now."""
        return self._training.batches.per_epoch

    @property
    def schedule(self) -> BoundSchedule:
        """The bound schedule of the learning rate."""
        return self._training.schedule

    @property
    def state(self) -> RunState:
        """One of running, paused, finished, diverged, stopped."""
        return self._run_control.state

    @property
    def layers(self) -> list[LayerInfo]:
        """The layers as the lecture counts them."""
        return self._training.layers

    @property
    def status(self) -> TrainingStatus:
        """What is trained and how, now."""
        return self._training.status(self._run_control.speed_limit)

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction."""
        return self.config.epoch(self.step, self.steps_per_epoch)

    def measure(self, steps: int = 1) -> None:
        """Measure the statistics of the next `steps` steps, whatever that costs."""
        self._snapshot_at |= {*range(self.step, self.step + steps)}

    def plan(self, total_steps: int) -> None:
        """Spread the schedule over `total_steps`; the number of steps to make stays the same."""
        self.schedule.total = total_steps

    def checkpoint(self) -> Checkpoint:
        """Return a copy of everything that the steps to come depend on; call it between frames."""
        self._collect()
        return self._training.checkpoint(self.step, self._clock.elapsed(), self.total_steps)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue after the steps of `checkpoint`; call it before `frames`.

        Changes made by command before the checkpoint are made again. Raises CheckpointError.
        """
        if checkpoint.step >= self.total_steps:
            raise CheckpointError(
                f"nothing is left to train: the checkpoint is after step {checkpoint.step}, "
                f"the run ends after {self.total_steps}"
            )
        self._training = self._training.restored(checkpoint)
        self.step, self._clock.before = checkpoint.step, checkpoint.seconds
        detail: dict[str, object] = {}
        if checkpoint.total_steps not in (0, self.total_steps):
            detail = {"total_steps": self.total_steps, "previous": checkpoint.total_steps}
        event = Event(self.step, checkpoint.seconds, EventKind.RESUMED, detail)
        self._next_frame.events.append(event)

    def frames(
        self, inbox: "SimpleQueue[Command] | None" = None, interval: float = 0.1
    ) -> Iterator[Frame]:
        """Train to the end, yielding a frame every `interval` seconds and one at the end.

        Step 0 and applied commands are yielded at once. Commands come from `inbox`, which becomes
        the trainer's own, and are applied between steps; while paused, the loop waits for them.
        """
        if inbox is not None:
            self.inbox = inbox
        inbox = self.inbox
        self._clock.begin(interval)
        if not self.step:
            self._begin()
        self._choose_step_runner()
        self._clock.resume()
        while not self._run_control.over:
            self._apply_commands(inbox)
            if not self._run_control.over and not self._run_control.waiting:
                self._step_or_apply(inbox)
            if self.state in (RunState.FINISHED, RunState.STOPPED):
                self._next_frame.batch_dependence = self._training.batch_dependence(self.step)
            due = self._clock.frame_due() and not self._next_frame.is_empty
            if self._next_frame.events or self.step == 1 or due:
                yield self._frame()
        if not self._next_frame.is_empty:
            yield self._frame()

    def _begin(self) -> None:
        """Do and measure what comes before the first update."""
        start_from_data(self.training_step, self._training.batches)
        self._next_frame.batch_dependence = self._training.batch_dependence(self.step)
        find_dead_units(self.training_step, self._training.batches)
        self._validate()

    def _frame(self) -> Frame:
        collected = self.step - self._submitted
        epoch = self.config.epoch(collected, self.steps_per_epoch)
        frame = self._next_frame.build(collected, epoch, self.hyperparameters, self.state)
        for listener in [*self.listeners]:
            listener(frame)
        return frame

    @property
    def _submitted(self) -> int:
        """Number of steps that were submitted and not collected yet."""
        runner = self.step_runners.current
        return 0 if runner is None else len(runner)

    def _apply_commands(self, inbox: "SimpleQueue[Command]") -> None:
        idle = self._run_control.waiting and not self._next_frame.events
        while idle or not inbox.empty():
            self._apply(inbox.get())
            if idle:  # a pause does not count as training time
                self._clock.resume()
                idle = False

    def _step_or_apply(self, inbox: "SimpleQueue[Command]") -> None:
        """Make a step when the speed limit allows one, unless a command comes first."""
        if (command := self._run_control.wait(inbox)) is not None:
            self._apply(command)
        else:
            self._advance()

    def _apply(self, command: Command) -> None:
        """Apply a command and record its event, or why it could not be applied."""
        if not self._collect():  # the run has diverged before
            return
        try:
            detail = self._apply_checked(command)
        except (TuilabError, MemoryError) as error:
            reason = str(error) or "there is not enough memory"
            self._record(EventKind.REFUSED, {"command": command.kind, "reason": reason})
        else:
            kind = "set" if command.kind == "scale" else command.kind
            self._record(kind, detail)
            self._next_frame.status = self.status
        self._choose_step_runner()

    def _apply_checked(self, command: Command) -> dict[str, object]:
        """Apply a command; return the detail of its event. Raises ConfigError, ShapeError, …."""
        if command.kind in CHANGES:
            return self._change(command)
        if command.kind in ("set", "scale"):
            return self.hyperparameters.change(command)
        return self._run_control.apply(command)

    def _change(self, command: Command) -> dict[str, object]:
        self.step_runners.forget()  # its memory may be needed for what is bound next
        self._training, detail = self._training.change(command, self.step)
        gc.collect()  # closures in cycles hold the old buffers, which are as large as the new ones
        return detail

    def _choose_step_runner(self) -> StepRunner:
        """Choose what runs the next step; record it if a device has to run it eagerly."""
        known, runner = self.step_runners.current, self.step_runners.choose(self.training_step)
        if runner is not known and self.step_runners.reason:
            self._record(EventKind.EAGER, {"reason": self.step_runners.reason})
        return runner

    def _record(self, kind: str, detail: Mapping[str, object]) -> None:
        """Record an event after the steps that were made so far."""
        self._next_frame.add_event(self.step, kind, detail)

    def _advance(self) -> None:
        """Submit one step, and collect what is complete."""
        runner = self._choose_step_runner()
        required = self._snapshot_required()
        if required and not self._collect():  # so that there is room for its statistics
            return
        ends_epoch = self.config.epoch_ends(self.step + 1, self.steps_per_epoch)
        has_probes = self.training_step.probes is not None
        measure = has_probes and (required or self._clock.snapshot_due())
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rows = self._training.batches.of_step(self.step)
            self.hyperparameters.factor = self.schedule.factor(self.step)
            if runner.submit(self.step, self.epoch, rows, measure=measure, ends_epoch=ends_epoch):
                self._clock.request_snapshot()
        self.step += 1
        if not self._collect(wait=required or ends_epoch or self.step >= self.total_steps):
            return
        if ends_epoch:
            self._validate()
        if self._run_control.count_step(epoch_ended=ends_epoch):
            self._record(EventKind.PAUSE, {"epoch": self.epoch})
        if self.step >= self.total_steps:
            self._run_control.end(RunState.FINISHED)

    def _snapshot_required(self) -> bool:
        """Return whether the next step must be measured, whatever that costs."""
        after_event = bool(self._next_frame.events)
        return after_event or self._run_control.may_pause or self.step in self._snapshot_at

    def _collect(self, *, wait: bool = True) -> bool:
        """Collect completed steps, all submitted ones if `wait`; return False at a divergence."""
        if (runner := self.step_runners.current) is None:
            return True
        for completed in runner.completed(wait=wait):
            self._next_frame.add_step(completed.result, completed.rate)
            if not np.isfinite(completed.result.loss):
                self.step = completed.step + 1
                with np.errstate(all="ignore"):
                    runner.roll_back(completed)
                    self._diverge(completed.result, completed.step)
                return False
            self._clock.count_step(completed.probing, measured=completed.snapshot is not None)
            if completed.snapshot is not None:
                self._next_frame.snapshot = completed.snapshot()
                self._clock.count_snapshot(completed.probing)
        return True

    def _diverge(self, result: StepResult, step: int) -> None:
        """End the run at a loss that is not finite, and record where it came from."""
        snapshot = None
        if (probes := self.training_step.probes) is not None:
            probes.start()
            epoch = self.config.epoch(step, self.steps_per_epoch)
            snapshot = probes.finish(step, epoch, updated=False)
            self._next_frame.snapshot = snapshot
        detail = divergence(result.loss, step, snapshot, self.layers)
        self._run_control.end(RunState.DIVERGED)
        self._next_frame.add_event(step, EventKind.DIVERGED, detail)

    def _validate(self) -> None:
        if (evaluate := self._training.evaluate) is not None:
            loss, accuracy = evaluate()
            validation = Validation.of(self.step, self.epoch, loss=loss, accuracy=accuracy)
            self.schedule.validated(validation.loss)
            self._next_frame.validations.append(validation)
