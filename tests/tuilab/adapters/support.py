"""What the tests of the watchers share: reading back what a run has recorded."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.commands import Command
from engine.statistics.frames import Event, Floats, Snapshot, Validation
from tuilab.errors import RunError
from tuilab.record import RunInfo, RunReader
from tuilab.record.control_socket import ControlClient

PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class Recorded:
    """Everything that a run has recorded."""

    info: RunInfo
    series: dict[str, Floats]  # by name, (steps,)
    validations: Sequence[Validation]
    events: Sequence[Event]
    snapshots: Sequence[Snapshot]

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return [layer.name for layer in self.info.layers]

    def kinds(self) -> list[str]:
        """Return the kinds of the events."""
        return [event.kind for event in self.events]


def recorded(folder: Path) -> Recorded:
    """Return what is recorded in a run folder."""
    with RunReader(folder / "run.db") as reader:
        blocks = reader.blocks()
        names = {name for block in blocks for name in block.series}
        return Recorded(
            reader.info(),
            {
                name: np.concatenate(
                    [block.series.get(name, np.full(block.steps, np.nan)) for block in blocks]
                )
                for name in names
            },
            reader.validations(),
            [event for _, event in reader.events()],
            [s for step in reader.snapshot_steps() if (s := reader.snapshot(step)) is not None],
        )


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Viewer(threading.Thread):
    """Sends commands to a run one after the other, each once its condition holds."""

    def __init__(self, folder: Path, *commands: tuple[Callable[[], bool], Command]) -> None:
        super().__init__(daemon=True)
        self._folder, self._commands = folder, commands
        self.replies: list[str] = []  # "" where a command was accepted
        self.start()

    def run(self) -> None:
        wait_for(lambda: bool(self._address()))
        client = ControlClient(self._address())
        for condition, command in self._commands:
            wait_for(condition)
            self.replies.append(client.send(command).error)
        client.close()

    def _address(self) -> str:
        try:
            with RunReader(self._folder / "run.db") as run:
                return run.info().socket
        except RunError:  # it has not begun
            return ""
