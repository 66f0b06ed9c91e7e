"""The runs that a view goes through: which is shown, and how others take the place of one.

Workers are started and ended in the thread of the commands, so that no key press waits for them.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from textual.message import Message

from engine.errors import TuilabError
from engine.training.trainer import Command
from tuilab.process.launch import Worker, end, has_ended
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.catalog import CatalogEntry
from tuilab.viewer.model.command_sender import CommandSender
from tuilab.viewer.model.store import RunStore

PATIENCE: Final = 3.0  # seconds that runs may take to stop, when leaving
POLL: Final = 0.02  # seconds


@dataclass
class Restarted(Message):
    """A new run has been started in the place of another, or could not be."""

    instead_of: Worker
    worker: Worker | None
    error: str = ""


@dataclass
class Forked(Message):
    """A run that branches off another has been started, or could not be."""

    parent: Worker
    worker: Worker | None
    error: str = ""


@dataclass
class Begun(Message):
    """The runs of another scenario of the tour have been started, or could not be."""

    entry: CatalogEntry
    runs: Sequence[Worker]
    error: str = ""


class Session:
    """`runs` in their order, and `worker`, the one that is shown; `tell` hears of new ones."""

    def __init__(
        self, runs: Sequence[Worker], sender: CommandSender, tell: Callable[[Message], None]
    ) -> None:
        self.runs = [*runs]
        self.worker = runs[0]
        self._sender, self._tell = sender, tell
        self._awaiting = False  # another run is on its way
        self._asked: list[Worker] = []  # to stop

    @property
    def several(self) -> bool:
        """Tell whether there are runs beside the one that is shown."""
        return len(self.runs) > 1

    @property
    def others(self) -> list[Worker]:
        """The runs beside the one that is shown."""
        return [run for run in self.runs if run != self.worker]

    @property
    def following(self) -> Worker:
        """The run after the one that is shown, round and round."""
        return self.runs[(self.runs.index(self.worker) + 1) % len(self.runs)]

    def restart(self, store: RunStore, begin: Callable[[RunFolder], Worker]) -> bool:
        """Stop the run that is shown and `begin` another from its folder; tells `Restarted`.

        False where another is on its way already.
        """
        old = self.worker
        return self._supersede(
            store,
            lambda: Restarted(old, begin(old.folder)),
            lambda problem: Restarted(old, None, problem),
        )

    def fork(self, begin: Callable[[RunFolder], Worker]) -> bool:
        """Let `begin` branch a run off the one that is shown; tells `Forked`. False as above."""
        parent = self.worker
        return self._start(
            lambda: Forked(parent, begin(parent.folder)),
            lambda problem: Forked(parent, None, problem),
        )

    def begin(
        self,
        store: RunStore,
        entry: CatalogEntry,
        begin: Callable[[CatalogEntry], Sequence[Worker]],
    ) -> bool:
        """Stop all runs and `begin` those of another scenario; tells `Begun`. False as above."""

        def start() -> Begun:
            self.stop_others()
            return Begun(entry, begin(entry))

        return self._supersede(store, start, lambda problem: Begun(entry, (), problem))

    def _supersede(
        self,
        store: RunStore,
        begin: Callable[[], Message],
        failed: Callable[[str], Message],
    ) -> bool:
        if not self._awaiting:
            self.stop(store)
        return self._start(begin, failed)

    def _start(self, begin: Callable[[], Message], failed: Callable[[str], Message]) -> bool:
        if self._awaiting:
            return False
        self._awaiting = True

        def start() -> None:
            try:
                self._tell(begin())
            except TuilabError as error:
                self._tell(failed(str(error)))

        self._sender.after(start)
        return True

    def replace(self, message: Restarted) -> bool:
        """Take the new run in; tells whether it takes the place of the one that is shown."""
        self._awaiting = False
        if message.worker is None:
            return False
        self.runs[self.runs.index(message.instead_of)] = message.worker
        return self.worker == message.instead_of

    def join(self, message: Forked) -> bool:
        """Take a fork in after its parent; tells whether that one is still shown."""
        self._awaiting = False
        if message.worker is None:
            return False
        self.runs.insert(self.runs.index(message.parent) + 1, message.worker)
        return self.worker == message.parent

    def renew(self, message: Begun) -> bool:
        """Take the runs of another scenario in the place of all; tells whether there are any."""
        self._awaiting = False
        if message.runs:
            self.runs = [*message.runs]
        return bool(message.runs)

    def stop(self, store: RunStore) -> None:
        """Stop the run that is shown."""
        process = self.worker.process
        self._asked.append(self.worker)
        if store.live and store.info.socket:
            self._sender.send(store.info.socket, Command("stop"))
        elif process is not None and process.poll() is None:  # still loading: it has no ears yet
            process.terminate()

    def stop_others(self) -> None:
        """End the other runs, waiting for it."""
        self._asked += self.others
        for run in self.others:
            with suppress(TuilabError):  # it ended meanwhile
                end(run)

    def await_end(self) -> None:
        """Wait a moment for runs that were asked to stop, so that they are spoken of rightly."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(map(has_ended, self._asked)):
            time.sleep(POLL)
