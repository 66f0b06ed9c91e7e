"""The runs of a view: which one is shown, and how workers are started in place of others.

Workers are started and stopped in the thread that sends commands, so that no key press waits.
"""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from textual.message import Message

from engine.commands import Command
from engine.errors import TuilabError
from tuilab.process.launch import Worker, end, has_ended
from tuilab.record.run_folder import RunFolder
from tuilab.scenario.catalog import CatalogEntry
from tuilab.viewer.model.command_sender import CommandSender
from tuilab.viewer.model.store import RunStore

PATIENCE: Final = 3.0  # seconds to wait for runs to stop, when leaving
PROGRAM_PATIENCE: Final = 10.0  # for programs, which may do much at their end
POLL: Final = 0.02  # seconds


@dataclass
class Restarted(Message):
    """A run was started in place of another, or could not be."""

    instead_of: Worker
    worker: Worker | None
    error: str = ""


@dataclass
class Forked(Message):
    """A fork of a run was started, or could not be."""

    parent: Worker
    worker: Worker | None
    error: str = ""


@dataclass
class Begun(Message):
    """The runs of another scenario were started, or could not be."""

    entry: CatalogEntry
    runs: Sequence[Worker]
    error: str = ""


class Session:
    """`runs` in their order, and `worker`, the one that is shown.

    `deliver` takes the messages about started runs, from another thread.
    """

    def __init__(
        self, runs: Sequence[Worker], sender: CommandSender, deliver: Callable[[Message], None]
    ) -> None:
        self.runs = [*runs]
        self.worker = runs[0]
        self._sender, self._deliver = sender, deliver
        self._starting = False  # another run is being started
        self._stopping: list[Worker] = []

    @property
    def several(self) -> bool:
        """Whether there are runs beside the one that is shown."""
        return len(self.runs) > 1

    @property
    def others(self) -> list[Worker]:
        """The runs beside the one that is shown."""
        return [run for run in self.runs if run != self.worker]

    @property
    def following(self) -> Worker:
        """The run after the one that is shown; after the last comes the first."""
        return self.runs[(self.runs.index(self.worker) + 1) % len(self.runs)]

    def restart(self, store: RunStore, begin: Callable[[RunFolder], Worker]) -> bool:
        """Stop the run that is shown, `begin` another from its folder, and deliver `Restarted`.

        Return False if a run is being started already.
        """
        old = self.worker
        return self._stop_and_start(
            store,
            lambda: Restarted(old, begin(old.folder)),
            lambda problem: Restarted(old, None, problem),
        )

    def fork(self, begin: Callable[[RunFolder], Worker]) -> bool:
        """Let `begin` fork the run that is shown, and deliver `Forked`; returns as `restart`."""
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
        """Stop all runs, `begin` those of a scenario, and deliver `Begun`; returns as `restart`."""

        def start() -> Begun:
            self.stop_others()
            return Begun(entry, begin(entry))

        return self._stop_and_start(store, start, lambda problem: Begun(entry, (), problem))

    def _stop_and_start(
        self,
        store: RunStore,
        begin: Callable[[], Message],
        failed: Callable[[str], Message],
    ) -> bool:
        if not self._starting:
            self.stop(store)
        return self._start(begin, failed)

    def _start(self, begin: Callable[[], Message], failed: Callable[[str], Message]) -> bool:
        if self._starting:
            return False
        self._starting = True

        def start() -> None:
            try:
                self._deliver(begin())
            except TuilabError as error:
                self._deliver(failed(str(error)))

        self._sender.after(start)
        return True

    def replace(self, message: Restarted) -> bool:
        """Put the new run in place of the old one. Return whether that one is still shown."""
        self._starting = False
        if message.worker is None:
            return False
        self.runs[self.runs.index(message.instead_of)] = message.worker
        return self.worker == message.instead_of

    def join(self, message: Forked) -> bool:
        """Add a fork after its parent. Return whether that one is still shown."""
        self._starting = False
        if message.worker is None:
            return False
        self.runs.insert(self.runs.index(message.parent) + 1, message.worker)
        return self.worker == message.parent

    def renew(self, message: Begun) -> bool:
        """Replace all runs by those of another scenario. Return whether there are any."""
        self._starting = False
        if message.runs:
            self.runs = [*message.runs]
        return bool(message.runs)

    def stop(self, store: RunStore) -> None:
        """Stop the run that is shown."""
        process = self.worker.process
        self._stopping.append(self.worker)
        if store.live and store.info.socket:
            self._sender.send(store.info.socket, Command("stop"))
        elif process is not None and process.poll() is None:  # still loading: takes no commands yet
            process.terminate()

    def stop_others(self) -> None:
        """Stop the other runs, and wait until they have ended."""
        self._stopping += self.others
        for run in self.others:
            with suppress(TuilabError):  # it ended meanwhile
                end(run)

    def stop_all(self, store: RunStore, then: Callable[[], object]) -> None:
        """Stop all runs; call `then` in the sending thread once the other runs have ended."""
        self.stop(store)
        self._sender.after(self.stop_others)
        self._sender.after(then)

    def await_end(self) -> None:
        """Wait a moment for runs that are stopping, so that they are reported as ended.

        A program stops at its next training step, which may not come: it is then terminated.
        """
        for insist in (None, signal.SIGTERM, signal.SIGKILL):
            left = [run for run in self._stopping if not has_ended(run)]
            if insist is not None:
                left = [run for run in left if run.program]
            for run in left:
                if insist is not None and run.process is not None:
                    run.process.send_signal(insist)
            programs = any(run.program for run in left)
            deadline = time.monotonic() + (PROGRAM_PATIENCE if programs else PATIENCE)
            while time.monotonic() < deadline and not all(map(has_ended, left)):
                time.sleep(POLL)
