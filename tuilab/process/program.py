"""A program that is watched in the background of a view: its process, its log, what it leaves."""

import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tuilab.adapters.launched import FURTHER
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
        tidy(folder)
        raise RunError(f"cannot run {command[0]}: {error.strerror}") from error
    return Worker(folder, process, program.label)


class FurtherRuns:
    """The runs of a program that are not in the folder where it was started."""

    def __init__(self, started: Worker) -> None:
        self._started, self._read = started, 0

    def new(self) -> list[Worker]:
        """Return those that began since the last call."""
        try:
            text = (self._started.folder.path / FURTHER).read_text(encoding="utf-8")
        except OSError:
            return []
        paths = text.split("\n")[self._read : -1]
        self._read += len(paths)
        return [replace(self._started, folder=RunFolder(Path(path))) for path in paths]


def tidy(folder: RunFolder) -> None:
    """Remove what is of no use once a program has ended: all, if it recorded nothing there."""
    (folder.path / FURTHER).unlink(missing_ok=True)
    if not folder.database.exists():
        folder.log.unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            folder.path.rmdir()
