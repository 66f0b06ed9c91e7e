"""The steps in the lecture's order, and a run through them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from engine.backends.base import make_backend
from tuilab.babysit import (
    generalization,
    gradients,
    initial_loss,
    learning_rate,
    overfit,
    regularization,
)
from tuilab.babysit.check import Check, Step
from tuilab.babysit.subject import Subject
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.scenario import Scenario

STEPS: Final[tuple[Step, ...]] = (
    initial_loss.STEP,
    regularization.STEP,
    overfit.STEP,
    gradients.STEP,
    learning_rate.STEP,
    generalization.STEP,
)


def prepare(scenario: Scenario, backend: str, directory: Path | None, threads: int = 1) -> Subject:
    """Load the data and bind the network once, as a run would: what is wrong in it shows here.

    Raises DataError, ConfigError, ShapeError, BackendError.
    """
    made = make_backend(backend, scenario.train.dtype, threads)
    subject = Subject(scenario, load_data(scenario, directory), made)
    with np.errstate(all="ignore"):
        build_trainer(scenario, subject.data, subject.backend, probes=False)
    return subject


def run(subject: Subject, tell: Callable[[str], None]) -> Iterator[tuple[Step, Check]]:
    """Yield each step with what it finds, as it happens; `tell` hears what is being done."""
    for step in STEPS:
        tell(step.title)
        heard = replace(subject, tell=_under(step.title, tell))
        with np.errstate(all="ignore"):  # numbers that are not finite are findings, not noise
            found = step.run(heard)
        yield step, found


def _under(title: str, tell: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: tell(f"{title}: {text}")
