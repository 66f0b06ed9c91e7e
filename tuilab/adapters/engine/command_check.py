"""Whether a command can be applied, judged while the trainer is busy with a step.

The socket's thread answers a client at once, and must not touch a trainer that is training. So it
judges by a description that is never changed: the trainer's thread publishes a new one between
steps. The trainer judges again when it applies the command, and records an event "refused" where
something has changed in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.commands import Command
from engine.data.dataset import Dataset
from engine.errors import TuilabError
from engine.optimization.hyperparameters import Hyperparameters
from engine.training.changes import CHANGES, changed
from engine.training.run_control import RunControl
from engine.training.trainer import Trainer
from engine.training.training_config import TrainingConfig
from tuilab.record import Source


@dataclass(frozen=True, slots=True)
class Published:
    """What commands are judged by: of one moment between two steps, and immutable."""

    config: TrainingConfig
    hyperparameters: Mapping[str, float]
    step: int

    @classmethod
    def of(cls, trainer: Trainer) -> "Published":
        """Return the description of a trainer between two steps."""
        return cls(trainer.config, dict(trainer.hyperparameters), trainer.step)


class CommandCheck:
    """Judges commands in any thread; `publish` is called by the trainer's."""

    def __init__(self, source: Source, trainer: Trainer) -> None:
        self._source = source
        self._data: Dataset = trainer.data  # which never changes
        self.publish(trainer)

    def publish(self, trainer: Trainer) -> None:
        """Judge by how `trainer` is now. A single assignment: no thread sees half of it."""
        self._published = Published.of(trainer)

    def refusal(self, command: Command) -> str:
        """Return why `command` cannot be applied, or ""."""
        if not self._source.can(command.kind, command.key):
            words = f"{command.kind} {command.key}".strip()
            return f"this run does not accept the command '{words}'"
        now = self._published
        try:
            if command.kind in CHANGES:
                changed(now.config, command, now.step, len(self._data.train)).check(self._data)
            elif command.kind in ("set", "scale"):
                Hyperparameters(now.hyperparameters).changed(command)
        except TuilabError as error:
            return str(error)
        return RunControl.refusal(command)
