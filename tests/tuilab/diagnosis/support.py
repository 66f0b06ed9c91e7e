"""A run diagnosed in this process, with statistics at steps that no clock decides."""

from collections.abc import Sequence
from pathlib import Path

from engine.backends import make_backend
from engine.statistics.frames import Event
from tuilab.diagnosis import Finding, Monitor
from tuilab.diagnosis.finding import all_found
from tuilab.process.run_facts import run_facts
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load

FIRING = Path(__file__).parent / "scenarios"
"""A small scenario for each rule, by its name, in which it must find something."""
HEALTHY = Path(__file__).parents[3] / "scenarios"
LOOKS = 24  # snapshots of a run


def diagnose(path: Path, *sets: str) -> list[Event]:
    """Train the scenario at `path` and return what the diagnosis says of it."""
    scenario = load(path, sets)
    data = load_data(scenario, None)
    trainer = build_trainer(scenario, data, make_backend("numpy"))
    total = trainer.total_steps
    trainer._snapshot_at |= {total * look // LOOKS for look in range(LOOKS)}
    trainer._clock.snapshot_due = lambda: False  # type: ignore[method-assign]
    monitor = Monitor(scenario.diagnosis, run_facts(scenario, trainer))
    return [event for frame in trainer.frames(interval=0) for event in monitor.see(frame)]


def found(events: Sequence[Event]) -> dict[str, Finding]:
    """Return the findings of a whole run by rule."""
    return {finding.rule: finding for finding in all_found(events)}
