"""What is done and measured before the first update, without a trace in what comes after it."""

from typing import Final

import numpy as np

from engine.data.batches import Batches
from engine.layers.base import starts
from engine.training.training_step import TrainingStep

SILENCE_EXAMPLES: Final = 10_000
"""Before the first update, silent units are looked for in at most so many training examples."""


def start_from_data(step: TrainingStep, batches: Batches) -> None:
    """Let layers that start from data do so with the first training batch, not augmented."""
    if starts(step.network.bound):
        with step.network.undisturbed(averages=False), np.errstate(over="ignore", invalid="ignore"):
            step.take(batches.first(), augment=False)
            step.start()


def look_for_silent_units(step: TrainingStep, batches: Batches) -> None:
    """Find the units that no training example reaches."""
    probes = step.probes
    if probes is None or not probes.dead_units.tracked:
        return
    with step.network.undisturbed():
        for rows in batches.in_order(SILENCE_EXAMPLES):
            step.take(rows, augment=False)  # for nothing may be drawn on their account
            step.forward()
            probes.dead_units.update()
    probes.dead_units.end_epoch()
