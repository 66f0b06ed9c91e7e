"""A run without a view: a progress bar, clean interruption, and the summary at the end."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import click

from engine.states import RunState
from tuilab.claims.expectations import Verdict
from tuilab.claims.summary import Summary, summarize
from tuilab.errors import RunError, WorkerError
from tuilab.process.launch import Worker, end, has_ended, info_of
from tuilab.process.run_expectations import run_expectations
from tuilab.record import RunInfo, RunReader
from tuilab.terminal import shell_command

POLL: Final = 0.05  # seconds


def train(begin: Callable[[], Worker], *, progress: bool) -> tuple[Worker, bool]:
    """Start a worker by `begin`, wait for it to end, and return whether a signal stopped it.

    Signals are held from before the start, so that none can leave the worker behind.
    """
    with held_signals() as stop:
        worker = begin()
        bar = _Bar() if progress else None
        stopping = False
        while not has_ended(worker):
            if stop and not stopping:
                stopping = True
                end(worker)
            if bar is not None:
                bar.update(info_of(worker))
            time.sleep(POLL)
        if bar is not None:
            bar.update(info_of(worker))
            bar.close()
        return worker, bool(stop)


def outcome(worker: Worker) -> tuple[Summary, list[Verdict]]:
    """Return summary and verdicts of a worker that has ended.

    Raises the worker's own failure: bad input (exit code 2) or WorkerError, with where its log is.
    """
    folder = worker.folder
    code = worker.process.returncode if worker.process else 0
    if not folder.database.exists():
        raise WorkerError(
            f"the training process did not start (log: {folder.log}):\n{folder.log_tail()}"
        )
    with RunReader(folder.database) as reader:
        info = reader.info()
        if info.state is RunState.FAILED or (code > 0 and info.ended and info.message):
            raise (RunError if code == 2 else WorkerError)(info.message)
        if not info.ended:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise WorkerError(
                f"the training process {how}; view what it recorded: "
                f"{shell_command('replay', folder.path)} (log: {folder.log})"
            )
        return summarize(folder, reader, run_expectations(folder))


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of dying of them."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    previous = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Bar:
    """A progress bar on stderr, begun when the length of the run is known."""

    def __init__(self) -> None:
        self._bar: click._termui_impl.ProgressBar[int] | None = None
        self._done = 0

    def update(self, info: RunInfo | None) -> None:
        if info is None or not info.total_steps:
            return
        if self._bar is None:
            self._bar = click.progressbar(
                length=info.total_steps, label=info.scenario, file=sys.stderr, show_pos=True
            )
            self._bar.__enter__()
        self._bar.update(info.step - self._done)
        self._done = info.step

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
