"""What is trained, as it stands, and the commands that have made it so."""

import gc
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.commands import Command
from engine.training.bound_training import BoundTraining, Resources
from engine.training.changes import changed, layers_anew, replayed, told
from engine.training.checkpoint import Checkpoint
from engine.training.training_config import TrainingConfig


class Workbench:
    """Holds the assembly that steps are made with, `now`, and makes another of it by command."""

    def __init__(self, setup: TrainingConfig, fixture: Resources, total_steps: int) -> None:
        """Bind `setup`; a schedule counts on `total_steps`. Raises ConfigError, ShapeError."""
        self._fixture, self._total_steps = fixture, total_steps
        self._changes: list[Mapping[str, Any]] = []
        self.now = BoundTraining(setup, fixture, total_steps)

    def plan(self, total_steps: int) -> None:
        """Let the schedule count on so many steps from now on."""
        self._total_steps = self.now.schedule.total = total_steps

    def changed(self, command: Command, step: int) -> TrainingConfig:
        """Return the setup that `command` makes at `step`. Raises ConfigError, ShapeError."""
        data = self._fixture.data
        setup = changed(self.now.setup, command, step, len(data.train))
        setup.check(data)
        return setup

    def change(self, command: Command, step: int) -> dict[str, object]:
        """Bind what is trained anew, with all that still fits; return what there is to tell.

        Raises ConfigError, ShapeError, MemoryError, and leaves everything as it is then.
        """
        setup, old = self.changed(command, step), self.now
        with self._fixture.drawing():
            new = BoundTraining(setup, self._fixture, self._total_steps)
            anew = new.take_over(old, layers_anew(setup, command))
        before = [asdict(layer) for layer in old.layers]
        found = told(old.setup, setup) | {"anew": anew, "layers_before": before}
        self.now = new
        del old
        gc.collect()  # closures that know each other keep its buffers, as large as the new ones
        said = command.plain()
        self._changes.append({"step": step, **said})
        del said["kind"]
        return said | found

    def copy(self, step: int, seconds: float, total_steps: int) -> Checkpoint:
        """Return a checkpoint of everything that the steps to come depend on."""
        return self.now.state.copy(step, seconds, total_steps, self._changes)

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Go to the setup and the state of `checkpoint`.

        Raises CheckpointError, and leaves everything as it is then.
        """
        setup = replayed(self.now.setup, checkpoint.changes, len(self._fixture.data.train))
        assembly = self.now
        with self._fixture.drawing():
            if setup != assembly.setup:
                assembly = BoundTraining(setup, self._fixture, self._total_steps)
            assembly.state.put_back(checkpoint)
        self.now, self._changes = assembly, [*checkpoint.changes]
