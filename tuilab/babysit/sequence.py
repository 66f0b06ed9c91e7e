"""The checks in the lecture's order, and the function that runs them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from engine.backends import make_backend
from tuilab.babysit import (
    generalization,
    gradients,
    initial_loss,
    learning_rate,
    overfit,
    regularization,
)
from tuilab.babysit.check import Check, CheckResult
from tuilab.babysit.subject import Subject
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.scenario import Scenario

CHECKS: Final[tuple[Check, ...]] = (
    initial_loss.CHECK,
    regularization.CHECK,
    overfit.CHECK,
    gradients.CHECK,
    learning_rate.CHECK,
    generalization.CHECK,
)


def prepare(scenario: Scenario, backend: str, directory: Path | None, threads: int = 1) -> Subject:
    """Load the data and bind the network once as a run would, so that bad input is reported first.

    Raises DataError, ConfigError, ShapeError, BackendError.
    """
    array_library = make_backend(backend, scenario.train.dtype, threads)
    subject = Subject(scenario, load_data(scenario, directory), array_library)
    with np.errstate(all="ignore"):
        build_trainer(scenario, subject.data, subject.backend, probes=False)
    return subject


def run(subject: Subject, progress: Callable[[str], None]) -> Iterator[tuple[Check, CheckResult]]:
    """Yield each check with its result as it ends; call `progress` with what is being done."""
    for check in CHECKS:
        progress(check.title)
        observed = replace(subject, progress=_prefixed(check.title, progress))
        with np.errstate(all="ignore"):  # non-finite numbers are results here, not warnings
            result = check.run(observed)
        yield check, result


def _prefixed(title: str, progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: progress(f"{title}: {text}")
