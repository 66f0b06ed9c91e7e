"""What the rules are told of a run before it begins."""

from typing import TYPE_CHECKING

import numpy as np

from engine.backends.base import NumPyBackend
from engine.data.dataset import Dataset
from engine.initializers import initializers
from engine.losses import Loss
from engine.training.trainer import Trainer
from tuilab.diagnosis.past import RunFacts

if TYPE_CHECKING:  # which decodes [diagnosis], and so loads this package
    from tuilab.scenario.scenario import Scenario


def facts(scenario: "Scenario", data: Dataset, trainer: Trainer) -> RunFacts:
    """Return the facts of a run that is about to begin."""
    return RunFacts(
        layers=tuple(trainer.layers),
        classes=len(data.classes),
        total_steps=trainer.total_steps,
        steps_per_epoch=trainer.steps_per_epoch,
        guessing_loss=guessing_loss(scenario.loss, len(data.classes)),
        validation_examples=0 if data.validation is None else len(data.validation),
        initializer=initializers.name_of(scenario.initializer),
        own_layers=bool(scenario.layers),
    )


def guessing_loss(loss: Loss, classes: int) -> float:
    """Return the data loss where all scores are zero and each class is as frequent: ln C."""
    backend = NumPyBackend("float64")
    bound = loss.bind((classes,), classes, backend)
    return bound.forward(np.zeros((classes, classes)), np.arange(classes))
