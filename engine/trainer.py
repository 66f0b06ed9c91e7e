"""The loop: steps, frames at display cadence, commands between steps."""

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Final, Literal

import numpy as np

from engine.backend import Backend, make_backend
from engine.batch_dependence import BatchDependenceProbe
from engine.data.augment import Augmentation, bind_all
from engine.data.dataset import Dataset
from engine.errors import ConfigError, require
from engine.evaluation import Evaluator
from engine.frames import BatchDependence, Event, Frame, LayerInfo, Snapshot, Validation
from engine.layers.base import starts
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.network import Network
from engine.optimizers import SGD, Optimizer
from engine.pace import Pace
from engine.schedules import Constant, Schedule
from engine.step import Result, TrainingStep
from engine.streams import stream

SILENCE_EXAMPLES: Final = 10_000
"""Before the first update, silent units are looked for in at most so many training examples."""


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
        examples = len(data.train)
        self.batch_size = examples if batch_size is None else batch_size
        require(
            1 <= self.batch_size <= examples,
            "batch_size",
            f"must be 1 … {examples} (the training examples there are), is {self.batch_size}",
        )
        self.steps_per_epoch = examples // self.batch_size
        self.total_steps = _total(steps, epochs, self.steps_per_epoch)
        self.data, self.backend = data, backend or make_backend("numpy")
        loss, optimizer = loss or SoftmaxCrossEntropy(), optimizer or SGD()
        self.hyperparameters = optimizer.hyperparameters()
        shape = (self.batch_size, *data.train.x.shape[1:])
        bound = network.bind(
            shape,
            self.backend,
            generator=stream(seed, "weights"),
            hyper=self.hyperparameters,
            noise=stream(seed, "dropout"),
        )
        if (scores := bound.bound[-1].output.shape[1:]) != (len(data.classes),):
            raise ConfigError(
                f"the network gives {scores} scores, the data has {len(data.classes)} classes"
            )
        self.network = bound
        randomness = stream(seed, "augment")
        self._step = TrainingStep(
            bound,
            loss,
            optimizer,
            self.hyperparameters,
            data.train,
            probes=probes,
            augment=bind_all(augment, data.pixels, shape[0], self.backend, generator=randomness),
        )
        self._evaluate = Evaluator(bound, loss, data.validation) if data.validation else None
        self._schedule = (schedule or Constant()).bind(self.total_steps)
        if self._schedule.schedule.needs_validation and self._evaluate is None:
            raise ConfigError(
                "this one goes by the validation loss: hold some data out", "schedule"
            )
        self._shuffle = stream(seed, "shuffle")
        self._order = np.arange(examples)
        self._snapshot_at = frozenset(snapshot_at) | {0, self.total_steps - 1}
        self.step = 0
        self.state = "running"
        self._single_steps = 0
        self._events: list[Event] = []
        self._results: list[Result] = []
        self._rates: list[float] = []
        self._snapshot: Snapshot | None = None
        self._validations: list[Validation] = []
        self._batch_dependence: BatchDependence | None = None
        self._depends = BatchDependenceProbe(self._step, examples)
        self._pace = Pace()

    @property
    def training_step(self) -> TrainingStep:
        """The step that the loop makes, for who wants to make it by hand."""
        return self._step

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
        self._start_from_data()
        self._batch_dependence = self._depends(self.step)
        self._look_for_silent_units()
        self._validate()
        self._pace.resume()
        while self.state in ("running", "paused"):
            self._take_commands(inbox)
            if self.state == "running" or self._single_steps:
                self._advance()
            if self.state in ("finished", "stopped"):
                self._batch_dependence = self._depends(self.step)
            if self._events or self.step == 1 or self._pace.frame_due():
                yield self._frame()
        if self._results or self._events:
            yield self._frame()

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
        idle = self.state == "paused" and not self._single_steps and not self._events
        while idle or not inbox.empty():
            self._apply(inbox.get())
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
        self._events.append(Event(self.step, self._pace.elapsed(), kind, detail))

    def _advance(self) -> None:
        position = self.step % self.steps_per_epoch
        if position == 0:
            self._shuffle.shuffle(self._order)
        probes = self._step.probes
        wanted = bool(self._events) or self._single_steps or self.step in self._snapshot_at
        measure = probes is not None and bool(wanted or self._pace.snapshot_due())
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._take_batch(position)
            self.hyperparameters.factor = self._schedule.factor(self.step)
            rate = self.hyperparameters.rate
            result = self._step.gradients()
            if not np.isfinite(result.loss):
                self._diverge(result)
            else:
                self._pace.step_made(self._update(measure))
        self._results.append(result)
        self._rates.append(rate)
        self.step += 1
        self._single_steps = max(0, self._single_steps - 1)
        if self.state == "diverged":
            return
        if self.step % self.steps_per_epoch == 0:
            self._validate()
        if self.step >= self.total_steps:
            self.state = "finished"

    def _take_batch(self, position: int, *, augment: bool = True) -> None:
        start = position * self.batch_size
        rows = self._order[start : start + self.batch_size]
        self._step.rows(self.backend.xp.asarray(rows), augment=augment)

    def _update(self, measure: bool) -> float:
        """Update the parameters, with a snapshot around it if `measure`; return its seconds."""
        probes = self._step.probes
        begin = perf_counter()
        if probes is not None:
            probes.silent.update()
            if (self.step + 1) % self.steps_per_epoch == 0:
                probes.silent.end_epoch()
        if probes is None or not measure:
            between = perf_counter()
            self._step.update()
            return between - begin
        probes.start()
        between = perf_counter()
        self._step.update()
        updated = perf_counter()
        self._snapshot = probes.finish(self.step, self.epoch)
        self._pace.snapshot_taken(cost := between - begin + perf_counter() - updated)
        return cost

    def _diverge(self, result: Result) -> None:
        """Stop at a loss that is not finite, and say where it came from."""
        detail: dict[str, object] = {"loss": str(result.loss)}
        message = f"the loss became {result.loss} at step {self.step}"
        if self._step.probes is not None:
            self._step.probes.start()
            self._snapshot = self._step.probes.finish(self.step, self.epoch, updated=False)
            if (found := self._snapshot.first_nonfinite()) is not None:
                layer, tensor = self.layers[found[0]], found[1]
                detail |= {"layer": layer.index, "name": layer.name, "tensor": tensor}
                message += f"; first not finite: {tensor} of layer {layer.index} ({layer.name})"
        detail["message"] = message
        self.state = "diverged"
        self._events.append(Event(self.step, self._pace.elapsed(), "diverged", detail))

    def _validate(self) -> None:
        if self._evaluate is not None:
            found = Validation(self.step, self.epoch, *self._evaluate())
            self._schedule.validated(found.loss)
            self._validations.append(found)

    def _start_from_data(self) -> None:
        """Let layers that start from data do so with the first training batch, not augmented."""
        if not starts(self.network.bound):
            return
        order = self._order.copy()
        copy.deepcopy(self._shuffle).shuffle(order)  # as the first step will
        noise = self.network.noise.bit_generator
        drawn = noise.state
        self._step.rows(self.backend.xp.asarray(order[: self.batch_size]), augment=False)
        with np.errstate(over="ignore", invalid="ignore"):
            self._step.start()
        noise.state = drawn

    def _look_for_silent_units(self) -> None:
        """Find the units that no training example reaches, before the first update."""
        probes = self._step.probes
        if probes is None or not probes.silent.watching:
            return
        state = self.network.store.state
        kept = state.copy()  # batch norm's running averages must not see these passes
        noise = self.network.noise.bit_generator
        drawn = noise.state
        last = min(len(self._order), SILENCE_EXAMPLES) // self.batch_size
        for position in range(max(1, last)):
            self._take_batch(position, augment=False)  # for nothing may be drawn on their account
            self._step.forward()
            probes.silent.update()
        state[...] = kept
        noise.state = drawn
        probes.silent.end_epoch()

    def _frame(self) -> Frame:
        results = self._results
        over = self.state not in ("running", "paused")
        frame = Frame(
            first_step=self.step - len(results),
            time=self._pace.elapsed(),
            epoch=self.epoch,
            loss=np.array([r.loss for r in results]),
            data_loss=np.array([r.data_loss for r in results]),
            accuracy=np.array([r.accuracy for r in results]),
            learning_rate=np.array(self._rates),
            steps_per_second=self._pace.steps_per_second(overall=over),
            probe_share=self._pace.probe_share(overall=over),
            hyperparameters=dict(self.hyperparameters),
            validations=tuple(self._validations),
            batch_dependence=self._batch_dependence,
            snapshot=self._snapshot,
            events=tuple(self._events),
            state=self.state,
        )
        self._results, self._rates, self._events, self._validations = [], [], [], []
        self._snapshot = self._batch_dependence = None
        self._pace.frame_made()
        return frame


def _total(steps: int | None, epochs: int | None, steps_per_epoch: int) -> int:
    if (steps is None) == (epochs is None):
        raise ConfigError("give either epochs or steps, not both", "steps")
    total = steps if steps is not None else (epochs or 0) * steps_per_epoch
    key = "steps" if steps is not None else "epochs"
    require(total >= 1, key, f"must be at least 1, is {steps if epochs is None else epochs}")
    return total
