"""What is recorded of a trainer, and what the diagnosis has to know of it."""

from dataclasses import asdict

import numpy as np

from engine.backends import NumPyBackend
from engine.backends.base import Backend
from engine.data.dataset import Dataset
from engine.data.input_statistics import describe
from engine.losses import Loss
from engine.training.trainer import Trainer
from tuilab.diagnosis.past import RunFacts
from tuilab.record import Compute, DataInfo


def data_info(data: Dataset) -> DataInfo:
    """Return what is recorded of a data set."""
    splits = {"train": data.train, "validation": data.validation}
    inputs = {
        split: describe(examples.x) for split, examples in splits.items() if examples is not None
    }
    return DataInfo(
        data=data.name,
        classes=len(data.classes),
        pixels=data.pixels,
        samples=(len(data.train), 0 if data.validation is None else len(data.validation)),
        input_std=inputs["train"].spread,
        inputs={split: asdict(statistics) for split, statistics in inputs.items()},
    )


def compute_info(backend: Backend) -> Compute:
    """Return what is recorded of the back-end that computes a run."""
    return Compute(
        backend=backend.name,
        device=backend.device,
        software=backend.software,
        dtype=str(backend.dtype),
    )


def trainer_facts(trainer: Trainer) -> RunFacts:
    """Return the facts of a run that is about to begin, as far as its trainer knows them."""
    data = trainer.data
    return RunFacts(
        layers=tuple(trainer.layers),
        classes=len(data.classes),
        total_steps=trainer.total_steps,
        steps_per_epoch=trainer.steps_per_epoch,
        guessing_loss=guessing_loss(trainer.loss, len(data.classes)),
        validation_examples=0 if data.validation is None else len(data.validation),
        own_layers=True,
    )


def guessing_loss(loss: Loss, classes: int) -> float:
    """Return the data loss of scores that are all zero, over equally frequent classes: ln C."""
    backend = NumPyBackend("float64")
    bound = loss.bind((classes,), classes, backend)
    return bound.forward(np.zeros((classes, classes)), np.arange(classes))
