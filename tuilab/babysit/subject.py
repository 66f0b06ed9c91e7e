"""The subject of all checks: a scenario with its data, and trainers for a few steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from engine.backends.base import Backend
from engine.data.dataset import Dataset, Examples
from engine.losses import Loss, SoftmaxCrossEntropy
from engine.optimization.schedules import Constant
from engine.training.trainer import Trainer
from tuilab.scenario.building import build_trainer
from tuilab.scenario.scenario import Scenario


@dataclass(frozen=True)
class Subject:
    """A scenario with its data on a back-end; checks call `progress` with what they are doing."""

    scenario: Scenario
    data: Dataset
    backend: Backend
    progress: Callable[[str], None] = lambda text: None

    @property
    def classes(self) -> int:
        return len(self.data.classes)

    @property
    def loss(self) -> Loss:
        """The scenario's loss without label smoothing, which regularises."""
        loss = self.scenario.loss
        return replace(loss, label_smoothing=0.0) if isinstance(loss, SoftmaxCrossEntropy) else loss

    @property
    def chance(self) -> float:
        """The loss of guessing: all classes equally likely."""
        return self.loss.chance(self.classes)

    @property
    def rate(self) -> float:
        """The scenario's learning rate."""
        return self.scenario.optimizer.learning_rate

    def batch_size(self, most: int) -> int:
        """Return the scenario's batch size, limited to `most` and the number of examples."""
        size, examples = self.scenario.data.batch_size, len(self.data.train)
        return min(examples if size == "all" else size, most, examples)

    def examples(self, count: int) -> Examples:
        """Return `count` random training examples, the same on every call; all if fewer."""
        return sample(self.data.train, count, seed=self.scenario.seed)

    def trainer(
        self,
        examples: Examples,
        *,
        batch: int,
        steps: int,
        rate: float | None = None,
        regularized: bool = True,
    ) -> Trainer:
        """Return a trainer with initial weights on `examples`, without schedule and validation.

        `regularized=False` disables penalties, dropout, label smoothing and augmentation.
        """
        scenario = self.scenario
        changes: dict[str, Any] = {} if rate is None else {"learning_rate": rate}
        if not regularized:
            changes |= {"weight_decay": 0.0, "l1": 0.0, "max_norm": 0.0}
        trainer = build_trainer(
            msgspec.structs.replace(
                scenario,
                data=msgspec.structs.replace(scenario.data, batch_size=batch),
                train=msgspec.structs.replace(scenario.train, epochs=None, steps=steps),
                optimizer=replace(scenario.optimizer, **changes),
                schedule=Constant(),
                loss=scenario.loss if regularized else self.loss,
                augment=scenario.augment if regularized else (),
                expect=(),
            ),
            replace(self.data, train=examples, validation=None),
            self.backend,
            probes=False,
        )
        if not regularized:
            trainer.hyperparameters["dropout"] = 0.0
        return trainer


def sample(examples: Examples, count: int, *, seed: int) -> Examples:
    """Return `count` of the examples in random order; all, in their order, if there are fewer."""
    if count >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).permutation(len(examples))[:count]
    return Examples(examples.x[chosen], examples.y[chosen])
