"""`tuilab gradcheck`: a scenario's gradients against centred differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.backends import make_backend
from engine.data.dataset import Dataset
from engine.training.gradcheck import ParameterCheck, check_parameters
from tuilab.reports.run_report import aligned
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load
from tuilab.scenario.scenario import Scenario

EXAMPLES: Final = 20
KINKED: Final = 1e-4
WRONG: Final = 1e-2
VERDICTS: Final = (
    (1e-7, "happy"),
    (KINKED, "fine if the loss has kinks, such as those of ReLU; otherwise too high"),
    (WRONG, "uncomfortable"),
)
"""Limits of the relative error from the course notes; above the last, a gradient is wrong."""


NOT_CHECKED: Final = "not checked"
LEFT_OUT: Final = (
    "left out: differences cannot decide where a unit crosses the kink of its non-linearity\n"
    "within every usable step, as in networks whose activations are almost 0"
)


def verdict(error: float) -> str:
    """Return the verdict of the course notes on a relative error."""
    return next((words for limit, words in VERDICTS if error <= limit), "wrong")


def gradcheck(
    path: Path, sets: Sequence[str], variant: str, directory: Path | None, elements: int
) -> list[ParameterCheck]:
    """Check the gradients at the initial weights of a scenario, in float64 on a few examples.

    Raises ScenarioError, DataError, ConfigError, ShapeError.
    """
    scenario = load(path, sets, variant)
    return check_gradients(scenario, load_data(scenario, directory), elements)


def check_gradients(scenario: Scenario, data: Dataset, elements: int) -> list[ParameterCheck]:
    """Check `elements` gradients per parameter array in float64. Raises like `gradcheck`."""
    count = min(EXAMPLES, len(data.train))
    small = msgspec.structs.replace(scenario.data, batch_size=count)
    scenario = msgspec.structs.replace(scenario, data=small)
    trainer = build_trainer(scenario, data, make_backend("numpy", "float64"))
    return check_parameters(trainer.training_step, np.arange(count), elements=elements)


def table(checks: Sequence[ParameterCheck]) -> str:
    """Return a line with a verdict per parameter array, and the largest error."""
    rows = [("layer", "parameter", "elements", "relative error", "verdict")]
    rows += [
        (f"{c.layer} {c.kind}", c.name, _elements(c), *_error_and_verdict([c])) for c in checks
    ]
    worst, meaning = _error_and_verdict(checks)
    text = f"{aligned(rows)}\n\nworst {worst}: {meaning}"
    return f"{text}\n{LEFT_OUT}" if any(check.left_out for check in checks) else text


def _elements(check: ParameterCheck) -> str:
    return f"{check.checked}, {check.left_out} left out" if check.left_out else str(check.checked)


def _error_and_verdict(checks: Sequence[ParameterCheck]) -> tuple[str, str]:
    """Return the largest error of some arrays, and the verdict on it."""
    if not any(check.checked for check in checks):
        return "—", NOT_CHECKED
    error = float(np.max([check.error for check in checks]))  # NaN if any error is NaN
    return f"{error:.1e}", verdict(error)
