"""What is trained and how, apart from the numbers in `Hyperparameters`: it too can change."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.data.batches import check_batch_size
from engine.data.dataset import Dataset
from engine.errors import ConfigError, require
from engine.layers.base import Shape
from engine.network import Network
from engine.optimization.schedules import Schedule
from engine.statistics.frames import LayerInfo


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What is trained and how; changes make new ones (`engine.training.changes`)."""

    network: Network
    batch_size: int
    schedule: Schedule
    schedule_start: int = 0  # the step from which it acts
    epoch_start: int = 0  # the step at which the first epoch with this batch size began
    epochs_before: int = 0  # with another one
    frozen: frozenset[int] = frozenset()  # layers, from 1, whose parameters stay as they are

    def check(self, data: Dataset) -> None:
        """Raise ConfigError or ShapeError where `data` cannot be trained on so."""
        check_batch_size(self.batch_size, len(data.train))
        scores = self.network.shapes(data.train.x.shape[1:])[-1]
        if scores != (len(data.classes),):
            raise ConfigError(
                f"the network gives {scores} scores, the data has {len(data.classes)} classes"
            )
        if self.schedule.needs_validation and data.validation is None:
            raise ConfigError(
                "this one goes by the validation loss: hold some data out", "schedule"
            )

    def epoch(self, step: int, per_epoch: int) -> float:
        """Return the epochs completed at `step`, with fraction; one cut short counts as one."""
        return self.epochs_before + (step - self.epoch_start) / per_epoch

    def epoch_ends(self, step: int, per_epoch: int) -> bool:
        """Tell whether `step` updates are whole epochs."""
        return (step - self.epoch_start) % per_epoch == 0

    def layers(self, x: Shape) -> Iterator[LayerInfo]:
        """Yield what the layers are, for inputs of shape `x`, as the lecture counts them."""
        for group in self.network.groups(x):
            yield replace(group.info, frozen=group.info.index in self.frozen)


def total_steps(steps: int | None, epochs: int | None, per_epoch: int) -> int:
    """Return how many steps are to be made, said in steps or in epochs. Raises ConfigError."""
    if (steps is None) == (epochs is None):
        raise ConfigError("give either epochs or steps, not both", "steps")
    total = steps if steps is not None else (epochs or 0) * per_epoch
    key = "steps" if steps is not None else "epochs"
    require(total >= 1, key, f"must be at least 1, is {steps if epochs is None else epochs}")
    return total
