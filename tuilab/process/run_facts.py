"""The facts of a run that the diagnosis needs before the first step."""

import numpy as np

from engine.backends import NumPyBackend
from engine.data.dataset import Dataset
from engine.initializers import initializers
from engine.losses import Loss
from engine.training.trainer import Trainer
from tuilab.diagnosis.past import RunFacts
from tuilab.scenario.scenario import Scenario


def run_facts(scenario: Scenario, data: Dataset, trainer: Trainer) -> RunFacts:
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
    """Return the data loss of scores that are all zero, over equally frequent classes: ln C."""
    backend = NumPyBackend("float64")
    bound = loss.bind((classes,), classes, backend)
    return bound.forward(np.zeros((classes, classes)), np.arange(classes))
