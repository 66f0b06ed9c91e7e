"""What the source of a run can do: the view offers nothing else. Knows no Textual."""

from typing import Final

from tuilab.record import RunInfo
from tuilab.record.run_info import OWN_SOURCE

NEEDS_A_SCENARIO: Final = frozenset(("restart", "go_on", "fork"))
"""Actions that start a training process again, from the scenario in the run folder."""
LOGGING: Final = frozenset(("torch",))
"""Sources in which a program logs named numbers by `run.log`."""


def logs(info: RunInfo) -> bool:
    """Return whether the program that is watched can log more numbers."""
    return info.source in LOGGING


def offers(info: RunInfo, action: str) -> bool:
    """Return whether a run offers `action`: the kind of a command, "restart", "go_on" or "fork"."""
    return info.source == OWN_SOURCE if action in NEEDS_A_SCENARIO else info.can(action)
