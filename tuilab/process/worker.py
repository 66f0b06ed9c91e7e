"""The training process: `python -m tuilab.process.worker FOLDER` (see `tuilab.process.launch`).

It holds the run's lock, writes its database, listens on its socket, and has no terminal. SIGINT and
SIGTERM stop it between two steps, with everything recorded.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from engine.commands import Command
from engine.errors import ConfigError, ShapeError, TuilabError
from engine.states import RunState
from tuilab.errors import RunError
from tuilab.process.recorded_training import PREPARATION, RecordedTraining, run_info
from tuilab.process.worker_options import WorkerOptions
from tuilab.record import RunWriter, Status
from tuilab.record.run_folder import RunFolder, hold_lock
from tuilab.toml_structs import find_line, read

PARENT_PERIOD: Final = 0.5  # seconds between two checks for the parent process


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the run in a folder; return the exit code."""
    options = WorkerOptions.parse(arguments)
    folder = RunFolder(options.folder)
    inbox: SimpleQueue[Command] = SimpleQueue()  # its put is safe in a signal handler
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: inbox.put(Command("stop")))
    if options.parent:
        _end_with(options.parent, inbox)
    try:
        lock = hold_lock(folder)  # held until the process ends
        writer = RunWriter(folder.database, resume=options.resume)
    except TuilabError as error:
        print(f"tuilab worker: {error}", file=sys.stderr)
        return error.exit_code
    ended_as = _ended_as(folder) if options.resume else RunState.FAILED
    try:
        RecordedTraining(folder, writer, inbox, options).run()
    except TuilabError as error:
        state = ended_as if _is_preparing(folder) else RunState.FAILED
        _fail(writer, _located(error, folder, options.origin), state)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (how the process ended must be recorded)
        traceback.print_exc()
        _fail(
            writer,
            f"internal error: {type(error).__name__}: {error} (details in {folder.log})",
        )
        return 1
    finally:
        writer.close()
        lock.close()
    return 0


def _end_with(parent: int, inbox: SimpleQueue[Command]) -> None:
    """Stop training when the process that started it is gone, which may have been killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_PERIOD)
        inbox.put(Command("stop"))

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _ended_as(folder: RunFolder) -> RunState:
    """Return the state in which a run ended; for one that was killed, FAILED."""
    state = run_info(folder).state
    return state if state.ended else RunState.FAILED


def _is_preparing(folder: RunFolder) -> bool:
    """Return whether a run that was to be resumed is still as it was."""
    info = run_info(folder)
    return info.state is RunState.STARTING and info.phase in PREPARATION


def _fail(writer: RunWriter, message: str, state: RunState = RunState.FAILED) -> None:
    print(f"tuilab worker: {message}", file=sys.stderr)
    with suppress(RunError):  # the disk may be full, which is why it failed
        writer.describe(Status(state=state, message=message))


def _located(error: TuilabError, folder: RunFolder, origin: str) -> str:
    """Return the error with the scenario file, as the user named it and as resolved."""
    if not isinstance(error, ConfigError | ShapeError):
        return str(error)
    key = error.path if isinstance(error, ConfigError) else ""
    line = find_line(read(folder.scenario), key) if key else None
    resolved = f" ({folder.scenario}:{line})" if line else ""
    return f"{origin or folder.scenario}: {error}{resolved}"


if __name__ == "__main__":
    sys.exit(main())
