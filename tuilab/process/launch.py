"""Starting and ending the training process: its own session, its output in the run folder.

`subprocess.Popen` and not `multiprocessing`: the worker must outlive whoever started it, and
spawning from inside a running Textual app fails on its file descriptors.
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from engine.backends.threads import usable_cores
from engine.commands import Command
from tuilab.errors import RunError
from tuilab.record import Fork, RunInfo, RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder, create, free_path
from tuilab.scenario.loading import load
from tuilab.scenario.scenario import Scenario

THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
SPIN_VARIABLE: Final = "OPENBLAS_THREAD_TIMEOUT"
SPIN: Final = "4"
"""Threads of OpenBLAS spin for 2 to the power of this many clock cycles after a product before they
sleep: by default for 20 ms, in which they keep a core from whoever could use it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, as opposed to what: `threads` 0 means a fitting number."""

    backend: str = "auto"
    data_dir: str = ""
    threads: int = 0
    restarted_from: str = ""
    fork: Fork | None = None
    checkpoints: bool = True
    tied: bool = False  # the run ends with the process that began it, however that ends

    def or_else(self, recorded: "Options") -> "Options":
        """Return these options, with the recorded ones where none was chosen."""
        return Options(
            backend=recorded.backend if self.backend == "auto" else self.backend,
            data_dir=self.data_dir or recorded.data_dir,
            threads=self.threads or recorded.threads,
            restarted_from=self.restarted_from,
            fork=self.fork,
        )

    def for_several(self) -> "Options":
        """Return these options for runs side by side: one thread a run, unless chosen otherwise."""
        return replace(self, threads=self.threads or 1)

    def thread_count(self) -> int:
        """Threads for the matrix products: one core fewer than there are, unless said otherwise.

        BLAS threads wait for each other. Measured on two cores, ten layers of 500, batch 128: two
        threads make 1.6 × the steps of one on an idle machine, and two thirds of them when another
        process, a view for one, has one of the cores.
        """
        return self.threads or max(1, usable_cores() - 1)


@dataclass(frozen=True, slots=True)
class Worker:
    """A run, and the process that trains it where it is ours (None: attached, or replayed)."""

    folder: RunFolder
    process: subprocess.Popen[bytes] | None = field(default=None)
    program: str = ""  # what the process runs, if not a worker of ours: "train.py"


def start(scenario: Scenario, path: Path, options: Options) -> Worker:
    """Create the run folder `path` and start training there. Raises RunError."""
    folder = create(path)
    write_atomically(folder.scenario, scenario.to_toml())
    return launch(folder, scenario, options)


def launch(folder: RunFolder, scenario: Scenario, options: Options, *more: str) -> Worker:
    """Start the training process of `folder`, with `more` of its own options."""
    arguments = [*more, f"--name={scenario.name}", f"--variant={scenario.variant}"]
    arguments += [f"--origin={scenario.origin}"]
    arguments += [f"--backend={options.backend}"]
    arguments += [f"--threads={options.thread_count()}"]
    if options.data_dir:
        arguments.append(f"--data-dir={options.data_dir}")
    if options.restarted_from:
        arguments.append(f"--restarted-from={options.restarted_from}")
    if options.fork is not None:
        arguments.append(f"--fork={msgspec.json.encode(options.fork).decode()}")
    if not options.checkpoints:
        arguments.append("--no-checkpoints")
    if options.tied:
        arguments.append(f"--parent={os.getpid()}")
    # NumPy's BLAS reads these once, when it is loaded.
    environment = {SPIN_VARIABLE: SPIN} | dict(os.environ)
    environment |= dict.fromkeys(THREAD_VARIABLES, str(options.thread_count()))
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "tuilab.process.worker",
                *arguments,
                "--",
                str(folder.path),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )
    return Worker(folder, process)


def has_ended(worker: Worker) -> bool:
    """Return whether the training process is gone."""
    if worker.process is not None:
        return worker.process.poll() is not None
    return not worker.folder.is_alive()


def end(worker: Worker) -> None:
    """Ask the worker to stop between two steps; it may still be loading, so signal it too."""
    if worker.process is not None and worker.process.poll() is None:
        worker.process.send_signal(signal.SIGTERM)
    elif worker.folder.is_alive() and (info := info_of(worker)) is not None and info.socket:
        ControlClient(info.socket).send(Command("stop"))


def info_of(worker: Worker) -> RunInfo | None:
    """Return what is known of a run; None while it has no database."""
    try:
        with RunReader(worker.folder.database) as reader:
            return reader.info()
    except RunError:  # not made yet
        return None


def restart(folder: RunFolder, *, new_seed: bool = False, sets: Sequence[str] = ()) -> Worker:
    """Run the scenario of `folder` again from the start, in a new folder beside it."""
    seed = [f"seed={secrets.randbelow(1_000_000)}"] if new_seed else []
    scenario = load(folder.scenario, [*sets, *seed])
    options, name, variant = options_of(folder)
    named = msgspec.structs.replace(scenario, name=name, variant=variant)
    return start(named, free_path(folder.path), options)


def options_of(folder: RunFolder) -> tuple[Options, str, str]:
    """Return how a run was started, its scenario's name and that of its variant."""
    try:
        with RunReader(folder.database) as reader:
            info = reader.info()
    except RunError:  # the worker did not get that far
        return Options(restarted_from=folder.name), folder.name, ""
    options = Options(
        backend=info.options.get("backend", "auto"),
        data_dir=info.options.get("data_dir", ""),
        threads=int(info.options.get("threads", "0")),
        restarted_from=folder.name,
    )
    return options, info.scenario, info.variant


def write_atomically(path: Path, text: str) -> None:
    """Write `text` whole or not at all. Raises RunError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")  # and not tempfile's mode 0600
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error
