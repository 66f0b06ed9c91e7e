"""A program that is watched in the background of a view: its process, its log, what it leaves."""

import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tuilab.adapters.launched import POINTER
from tuilab.adapters.program import Program, ProgramOptions
from tuilab.errors import RunError
from tuilab.process.launch import Worker
from tuilab.record.run_folder import RunFolder, create


def start_program(program: Program, options: ProgramOptions) -> Worker:
    """Start a program; what it prints goes to the log of its run folder. Raises RunError."""
    folder = create(options.out.absolute())
    command = program.command
    try:
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=program.environment(replace(options, logged=True)),
            )
    except OSError as error:
        discard(folder)
        raise RunError(f"cannot run {command[0]}: {error.strerror}") from error
    return Worker(folder, process, program.label)


def moved_to(worker: Worker) -> Worker | None:
    """Return the worker with the folder that the program itself chose, if it chose one."""
    try:
        path = (worker.folder.path / POINTER).read_text(encoding="utf-8")
    except OSError:
        return None
    return replace(worker, folder=RunFolder(Path(path)))


def discard(folder: RunFolder) -> None:
    """Remove the folder of a program that recorded nothing there."""
    if folder.database.exists():
        return
    for file in (folder.log, folder.path / POINTER):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.path.rmdir()
