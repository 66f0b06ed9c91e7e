"""The loop: steps, frames at display cadence, commands between steps."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Literal

import numpy as np

from engine.backend import Backend, make_backend
from engine.batch_dependence import BatchDependenceProbe
from engine.batches import Batches
from engine.checkpoint import Checkpoint, TrainingState, fingerprint
from engine.data.augment import Augmentation, bind_all
from engine.data.dataset import Dataset
from engine.errors import CheckpointError, ConfigError, require
from engine.evaluation import Evaluator
from engine.frame_builder import FrameBuilder
from engine.frames import Event, Frame, LayerInfo, Validation
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network import Network
from engine.optimizers import SGD, Optimizer
from engine.pace import Pace
from engine.preparation import look_for_silent_units, start_from_data
from engine.schedules import Constant, Schedule
from engine.step import Result, TrainingStep
from engine.stepping import Ahead, Steps
from engine.streams import stream

STREAMS: Final = ("weights", "dropout", "augment", "shuffle")
"""The random streams that training draws from; those of the data set are its source's."""


@dataclass(frozen=True, slots=True)
class Command:
    """Something to do between two steps.

    "set" gives the hyper-parameter `key` a `value`, "scale" multiplies it by `value`; "pause" makes
    one last step, whose statistics are measured, and "step" one more.
    """

    kind: Literal["set", "scale", "pause", "resume", "step", "stop"]
    key: str = ""
    value: float = 0.0


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
        streams = {name: stream(seed, name) for name in STREAMS}
        self._batches = Batches(len(data.train), batch_size, streams["shuffle"])
        self.batch_size, self.steps_per_epoch = self._batches.size, self._batches.per_epoch
        self.total_steps = _total(steps, epochs, self.steps_per_epoch)
        self.data, self.backend = data, backend or make_backend("numpy")
        loss, optimizer = loss or SoftmaxCrossEntropy(), optimizer or SGD()
        self.hyperparameters = optimizer.hyperparameters()
        bound = network.bind(
            (self.batch_size, *data.train.x.shape[1:]),
            self.backend,
            generator=streams["weights"],
            hyper=self.hyperparameters,
            noise=streams["dropout"],
        )
        if (scores := bound.bound[-1].output.shape[1:]) != (len(data.classes),):
            raise ConfigError(
                f"the network gives {scores} scores, the data has {len(data.classes)} classes"
            )
        self.network = bound
        changes = bind_all(
            augment, data.pixels, self.batch_size, self.backend, generator=streams["augment"]
        )
        self.training_step = TrainingStep(
            bound,
            loss,
            optimizer,
            self.hyperparameters,
            data.train,
            probes=probes,
            augment=changes,
        )
        self._evaluate = Evaluator(bound, loss, data.validation) if data.validation else None
        self._schedule = (schedule or Constant()).bind(self.total_steps)
        if self._schedule.schedule.needs_validation and self._evaluate is None:
            raise ConfigError(
                "this one goes by the validation loss: hold some data out", "schedule"
            )
        self._state = TrainingState(
            identity={
                **bound.network.description,
                "optimizer": type(optimizer).__name__,
                "batch_size": str(self.batch_size),
                "training data": fingerprint(data.train),
            },
            hyperparameters=self.hyperparameters,
            generators=streams,
            arrays={
                "order": self._batches.order,
                "schedule": self._schedule.state,
                **self.training_step.arrays,
            },
            backend=self.backend,
        )
        self._snapshot_at = frozenset(snapshot_at) | {0, self.total_steps - 1}
        self.step = 0
        self.state = "running"
        self._single_steps = 0
        self._pace = Pace()
        self._next = FrameBuilder(self._pace)
        self._depends = BatchDependenceProbe(self.training_step, len(data.train))
        self.ahead = Ahead(self.backend.launcher)
        """How steps are made, on a GPU ahead of it; and why not, where they are not."""

    def checkpoint(self) -> Checkpoint:
        """Copy everything that the steps to come depend on; between two frames, not within one."""
        self._caught_up()
        return self._state.copy(self.step, self._pace.elapsed(), self.total_steps)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue after the steps of `checkpoint`; before `frames`. Raises CheckpointError."""
        if checkpoint.step >= self.total_steps:
            raise CheckpointError(
                f"nothing is left to train: the checkpoint is after step {checkpoint.step}, "
                f"the run ends after {self.total_steps}"
            )
        self._state.put_back(checkpoint)
        self.step, self._pace.before = checkpoint.step, checkpoint.seconds
        detail: dict[str, object] = {}
        if checkpoint.total_steps not in (0, self.total_steps):
            detail = {"total_steps": self.total_steps, "previous": checkpoint.total_steps}
        self._next.events.append(Event(self.step, checkpoint.seconds, "resumed", detail))

    def plan(self, total_steps: int) -> None:
        """Let the schedule count on so many steps from now on; how many are made stays the same."""
        self._schedule.total = total_steps

    @property
    def layers(self) -> list[LayerInfo]:
        """What the layers are, as the lecture counts them."""
        groups = self.network.network.groups(self.network.batch_shape[1:])
        return [group.info for group in groups]

    @property
    def epoch(self) -> float:
        """Epochs completed, with fraction."""
        return self.step / self.steps_per_epoch

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
            start_from_data(self.training_step, self._batches)
            self._next.batch_dependence = self._depends(self.step)
            look_for_silent_units(self.training_step, self._batches)
            self._validate()
        self._pace.resume()
        while self.state in ("running", "paused"):
            self._take_commands(inbox)
            if self.state == "running" or self._single_steps:
                self._advance()
            if self.state in ("finished", "stopped"):
                self._next.batch_dependence = self._depends(self.step)
            if self._next.events or self.step == 1 or self._pace.frame_due():
                yield self._frame()
        if not self._next.is_empty:
            yield self._frame()

    def _frame(self) -> Frame:
        made = self.step - len(self._steps())  # whose results are known
        epoch = made / self.steps_per_epoch
        return self._next.build(made, epoch, self.hyperparameters, self.state)

    def refusal(self, command: Command) -> str:
        """Return why `command` cannot be applied, or ""."""
        value = command.value
        if command.kind not in ("set", "scale"):
            return ""
        try:
            if command.kind == "scale":
                value *= self.hyperparameters.get(command.key, 0.0)
            self.hyperparameters.validate(command.key, value)
        except ConfigError as error:
            return str(error)
        return ""

    def _take_commands(self, inbox: "SimpleQueue[Command]") -> None:
        idle = self.state == "paused" and not self._single_steps and not self._next.events
        while idle or not inbox.empty():
            command = inbox.get()
            if not self._caught_up():
                return
            self._apply(command)
            if idle:  # what was waited for is no training time
                self._pace.resume()
                idle = False

    def _apply(self, command: Command) -> None:
        detail: dict[str, object] = {}
        match command.kind:
            case "set" | "scale":
                if self.refusal(command):
                    return
                previous = self.hyperparameters[command.key]
                value = command.value * (previous if command.kind == "scale" else 1.0)
                self.hyperparameters[command.key] = value
                detail = {"key": command.key, "value": value, "previous": previous}
            case "pause":
                # One step more, so that what is shown while it rests is of now.
                self._single_steps = int(self.state == "running")
                self.state = "paused"
            case "resume":
                self.state, self._single_steps = "running", 0
            case "step":
                self.state, self._single_steps = "paused", self._single_steps + 1
            case "stop":
                self.state, self._single_steps = "stopped", 0
        kind = "set" if command.kind == "scale" else command.kind
        self._next.happened(self.step, kind, detail)

    def _advance(self) -> None:
        steps = self._steps()
        wanted = bool(self._next.events or self._single_steps or self.step in self._snapshot_at)
        if wanted and not self._caught_up():  # so that there is room for its statistics
            return
        probes, ends_epoch = self.training_step.probes, (self.step + 1) % self.steps_per_epoch == 0
        measure = probes is not None and (wanted or self._pace.snapshot_due())
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rows = self._batches.of_step(self.step)
            self.hyperparameters.factor = self._schedule.factor(self.step)
            if steps.make(self.step, self.epoch, rows, measure=measure, ends_epoch=ends_epoch):
                self._pace.snapshot_asked()
        self.step += 1
        self._single_steps = max(0, self._single_steps - 1)
        if not self._caught_up(wait=wanted or ends_epoch or self.step >= self.total_steps):
            return
        if ends_epoch:
            self._validate()
        if self.step >= self.total_steps:
            self.state = "finished"

    def _steps(self) -> Steps:
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
            self._pace.step_made(made.probing)
            if made.snapshot is not None:
                self._next.snapshot = made.snapshot()
                self._pace.snapshot_taken(made.probing)
        return True

    def _diverge(self, result: Result, step: int) -> None:
        """Stop at a loss that is not finite, and say where it came from."""
        detail: dict[str, object] = {"loss": str(result.loss)}
        message = f"the loss became {result.loss} at step {step}"
        if self.training_step.probes is not None:
            self.training_step.probes.start()
            self._next.snapshot = self.training_step.probes.finish(
                step, step / self.steps_per_epoch, updated=False
            )
            if (found := self._next.snapshot.first_nonfinite()) is not None:
                layer, tensor = self.layers[found[0]], found[1]
                detail |= {"layer": layer.index, "name": layer.name, "tensor": tensor}
                message += f"; first not finite: {tensor} of layer {layer.index} ({layer.name})"
        detail["message"] = message
        self.state = "diverged"
        self._next.happened(step, "diverged", detail)

    def _validate(self) -> None:
        if self._evaluate is not None:
            found = Validation(self.step, self.epoch, *self._evaluate())
            self._schedule.validated(found.loss)
            self._next.validations.append(found)


def _total(steps: int | None, epochs: int | None, steps_per_epoch: int) -> int:
    if (steps is None) == (epochs is None):
        raise ConfigError("give either epochs or steps, not both", "steps")
    total = steps if steps is not None else (epochs or 0) * steps_per_epoch
    key = "steps" if steps is not None else "epochs"
    require(total >= 1, key, f"must be at least 1, is {steps if epochs is None else epochs}")
    return total
