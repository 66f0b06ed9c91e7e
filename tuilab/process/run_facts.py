"""The facts of a run of a scenario that the diagnosis needs before the first step."""

from dataclasses import replace

from engine.initializers import initializers
from engine.training.trainer import Trainer
from tuilab.adapters.engine.description import trainer_facts
from tuilab.diagnosis.past import RunFacts
from tuilab.scenario.scenario import Scenario


def run_facts(scenario: Scenario, trainer: Trainer) -> RunFacts:
    """Return the facts of a run that is about to begin."""
    return replace(
        trainer_facts(trainer),
        initializer=initializers.name_of(scenario.initializer),
        own_layers=bool(scenario.layers),
    )
