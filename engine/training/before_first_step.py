"""What is done and measured before the first update, without affecting what comes after it."""

from typing import Final

import numpy as np

from engine.data.batches import Batches
from engine.layers.base import starts
from engine.training.training_step import TrainingStep

DEAD_UNIT_EXAMPLES: Final = 10_000
"""Before the first update, dead units are determined from at most this many training examples."""


def start_from_data(step: TrainingStep, batches: Batches) -> None:
    """Initialise layers that start from data by the first training batch, not augmented."""
    if starts(step.network.bound):
        with step.network.undisturbed(averages=False), np.errstate(over="ignore", invalid="ignore"):
            step.take(batches.first(), augment=False)
            step.start()


def find_dead_units(step: TrainingStep, batches: Batches) -> None:
    """Determine the units that no training example activates."""
    probes = step.probes
    if probes is None or not probes.dead_units.tracked:
        return
    with step.network.undisturbed():
        for rows in batches.in_order(DEAD_UNIT_EXAMPLES):
            step.take(rows, augment=False)  # which would draw random numbers
            step.forward()
            probes.dead_units.update()
    probes.dead_units.end_epoch()
