"""What the viewer's tests share: recorded runs, a clock that is stopped, a fake worker's end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.commands import Command
from tests.tuilab.viewer.recorded import Network, Recording
from tuilab.record.control_socket import Reply
from tuilab.record.run_folder import RunFolder
from tuilab.viewer.model.store import RunStore

Record = Callable[..., Recording]
Follow = Callable[..., RunStore]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """Make live recordings of small networks, in folders of their own."""
    made: list[Recording] = []

    def make(*, steps: int = 1, **network: Any) -> Recording:
        folder = RunFolder(tmp_path / f"run{len(made)}")
        settings = {"units": 24, "depth": 10} | network
        recording = Recording(folder, Network(**settings)).hold()
        made.append(recording)
        if steps:
            recording.steps(steps)
        return recording

    yield make
    for recording in made:
        recording.close()


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Make stores that are closed in the end."""
    stores: list[RunStore] = []

    def make(*args: Any, **more: Any) -> RunStore:
        stores.append(RunStore(*args, **more))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@dataclass
class Clock:
    """A clock that advances only on request."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeClient:
    """Replaces a `ControlClient`: remembers what it was sent, and gives prepared answers."""

    sent: list[Command] = field(default_factory=list)
    reply: Reply = field(default_factory=lambda: Reply(True))

    def send(self, command: Command) -> Reply:
        self.sent.append(command)
        return self.reply

    def close(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def recording(record: Record) -> Recording:
    return record(steps=1, units=100)


@pytest.fixture
def store(recording: Recording, follow: Follow) -> RunStore:
    store = follow(recording.folder)
    store.poll()
    return store
