"""What is expected of a recorded run: the [[expect]] tables of its scenario, if it has one."""

from tuilab.claims.expectations import Expectation
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.loading import load


def run_expectations(folder: RunFolder) -> tuple[Expectation, ...]:
    """Return the expectations of a run; none where it was not trained from a scenario file.

    Raises ScenarioError.
    """
    return load(folder.scenario).expect if folder.scenario.exists() else ()
