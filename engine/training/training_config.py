"""What is trained and how, apart from the numbers in `Hyperparameters`: what a command may change.

`TrainingConfig` is what changes, `Resources` what stays the same for a whole run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from engine.backends.base import Backend
from engine.data.augmentation import Augmentation
from engine.data.batches import check_batch_size
from engine.data.dataset import Dataset, Examples
from engine.errors import ConfigError, require
from engine.layers.base import Shape
from engine.losses import Loss
from engine.network import Network
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import Optimizer
from engine.optimization.schedules import Schedule
from engine.statistics.frames import LayerInfo


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What is trained and how; a change makes a new one (`engine.training.changes`)."""

    network: Network
    batch_size: int
    schedule: Schedule
    schedule_start: int = 0  # the step from which it acts
    epoch_start: int = 0  # the step at which the first epoch with this batch size began
    epochs_before: int = 0  # with other batch sizes
    frozen: frozenset[int] = frozenset()  # layers, from 1, whose parameters are not updated

    def check(self, data: Dataset) -> None:
        """Raise ConfigError or ShapeError if it does not fit `data`."""
        check_batch_size(self.batch_size, len(data.train))
        scores = self.network.shapes(data.train.x.shape[1:])[-1]
        if scores != (len(data.classes),):
            raise ConfigError(
                f"the network gives {scores} scores, the data has {len(data.classes)} classes"
            )
        if self.schedule.needs_validation and data.validation is None:
            raise ConfigError(
                "this schedule depends on the validation loss: hold out some data", "schedule"
            )

    def epoch(self, step: int, per_epoch: int) -> float:
        """Return the epochs completed at `step`, with fraction; one cut short counts as one."""
        return self.epochs_before + (step - self.epoch_start) / per_epoch

    def epoch_ends(self, step: int, per_epoch: int) -> bool:
        """Return whether an epoch ends after `step` updates."""
        return (step - self.epoch_start) % per_epoch == 0

    def layers(self, x: Shape) -> Iterator[LayerInfo]:
        """Yield the layers as the lecture counts them, for inputs of shape `x`."""
        for group in self.network.groups(x):
            yield replace(group.info, frozen=group.info.index in self.frozen)


@dataclass(frozen=True, slots=True)
class Resources:
    """What stays the same through all changes of a TrainingConfig."""

    data: Dataset
    train: Examples  # of `data`, on the device of `backend`, in its precision
    validation: Examples | None  # the same
    loss: Loss
    optimizer: Optimizer
    hyperparameters: Hyperparameters
    streams: Mapping[str, np.random.Generator]
    backend: Backend
    probes: bool
    augment: Sequence[Augmentation]

    @contextmanager
    def undo_draws_on_error(self) -> Iterator[None]:
        """Restore the stream of weights if what draws from it inside raises."""
        generator = self.streams["weights"].bit_generator
        before = generator.state
        try:
            yield
        except BaseException:
            generator.state = before
            raise


def total_steps(steps: int | None, epochs: int | None, per_epoch: int) -> int:
    """Return the number of steps, given either steps or epochs. Raises ConfigError."""
    if (steps is None) == (epochs is None):
        raise ConfigError("give either epochs or steps, not both", "steps")
    total = steps if steps is not None else (epochs or 0) * per_epoch
    key = "steps" if steps is not None else "epochs"
    require(total >= 1, key, f"must be at least 1, is {steps if epochs is None else epochs}")
    return total
