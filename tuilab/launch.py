"""Starting the training process: its own session, its output in the run folder.

`subprocess.Popen` and not `multiprocessing`: the worker must outlive whoever started it, and
spawning from inside a running Textual app fails on its file descriptors.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from engine.backend import usable_cores
from engine.errors import ConfigError
from engine.hyperparameters import Hyperparameters
from tuilab.checkpoints import newest
from tuilab.errors import RunError
from tuilab.recording import RunReader
from tuilab.runs import RunFolder, create, free_path
from tuilab.scenario import Scenario, load

THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, as opposed to what: `threads` 0 means a fitting number."""

    backend: str = "auto"
    data_dir: str = ""
    threads: int = 0
    restarted_from: str = ""
    checkpoints: bool = True

    def or_else(self, recorded: "Options") -> "Options":
        """Return these options, with the recorded ones where none was chosen."""
        return Options(
            backend=recorded.backend if self.backend == "auto" else self.backend,
            data_dir=self.data_dir or recorded.data_dir,
            threads=self.threads or recorded.threads,
            restarted_from=self.restarted_from,
        )

    def thread_count(self) -> int:
        """Threads for the matrix products: one core fewer than there are, unless said otherwise.

        BLAS threads wait for each other by spinning. Measured on two cores, ten layers of 500: two
        threads make 1.4 × the steps of one on an idle machine, and a twentieth of them when another
        process, a view for one, has one of the cores.
        """
        return self.threads or max(1, usable_cores() - 1)


@dataclass(frozen=True, slots=True)
class Worker:
    """A run, and the process that trains it where it is ours (None: attached, or replayed)."""

    folder: RunFolder
    process: subprocess.Popen[bytes] | None = field(default=None)


def start(scenario: Scenario, path: Path, options: Options) -> Worker:
    """Make the run folder `path` and start training there. Raises RunError."""
    folder = create(path)
    write_atomically(folder.scenario, scenario.to_toml())
    return _launch(folder, scenario, options)


def resume(
    folder: RunFolder, options: Options, *, steps: int | None, sets: Sequence[str]
) -> Worker:
    """Go on with a run that is not trained any more, from its newest checkpoint.

    `steps` is how many it shall have in the end, where that changes; `sets` are hyper-parameters,
    "optimizer.learning_rate=0.01". Raises RunError, CheckpointError, ConfigError, ScenarioError.
    """
    if folder.is_alive():
        raise RunError(f"{folder.path} is being trained: tuilab attach {folder.path} shows it")
    last, checkpoint = newest(folder)
    hyper = Hyperparameters(checkpoint.hyperparameters)
    changes = [_change(hyper, assignment) for assignment in sets]
    recorded, name = _options_of(folder)
    scenario = load(folder.scenario, [] if steps is None else [f"train.steps={steps}"])
    if steps is None:
        with RunReader(folder.database) as reader:
            steps = reader.info().total_steps
    if last.step >= steps:
        raise RunError(
            f"{folder.path} has made its {last.step} steps; say how many it shall have: --steps"
        )
    write_atomically(folder.scenario, scenario.to_toml())
    named = msgspec.structs.replace(scenario, name=name)
    return _launch(folder, named, options.or_else(recorded), "--resume", *changes)


def go_on(folder: RunFolder) -> Worker:
    """Go on with a run that has ended; after a divergence, with a lower learning rate.

    It is a tenth of the one it diverged at, or that from before the loss exploded, if it was still
    lower. And it is a run of its own then, so that the diverged one is kept.
    Raises RunError, CheckpointError, ScenarioError.
    """
    with RunReader(folder.database) as reader:
        info = reader.info()
    if info.state != "diverged":
        return resume(folder, Options(), steps=None, sets=())
    lower = info.hyperparameters["learning_rate"] / 10
    try:
        last, checkpoint = newest(folder)
    except RunError:  # there is nothing good but the start
        return restart(folder, sets=[f"optimizer.learning_rate={lower:g}"])
    lower = min(lower, checkpoint.hyperparameters["learning_rate"])
    copy = create(free_path(folder.path))
    with RunReader(folder.database) as reader:
        reader.copy_to(copy.database)
    copy.checkpoints.mkdir()
    for path in (folder.scenario, folder.preprocess, last.path):
        if path.exists():
            shutil.copyfile(path, copy.path / path.relative_to(folder.path))
    return resume(
        copy,
        Options(restarted_from=folder.name),
        steps=None,
        sets=[f"optimizer.learning_rate={lower:g}"],
    )


def _change(hyper: Hyperparameters, assignment: str) -> str:
    """Return the worker's option for "optimizer.KEY=VALUE". Raises ConfigError."""
    key, _, text = (part.strip() for part in assignment.partition("="))
    section, _, name = key.rpartition(".")
    if section != "optimizer":
        raise ConfigError("only a hyper-parameter of [optimizer] can change in a resumed run", key)
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"must be a number, is '{text}'", key) from None
    hyper.validate(name, value)
    return f"--set={name}={value!r}"


def _launch(folder: RunFolder, scenario: Scenario, options: Options, *more: str) -> Worker:
    arguments = [*more, f"--name={scenario.name}", f"--origin={scenario.origin}"]
    arguments += [f"--backend={options.backend}"]
    arguments += [f"--threads={options.thread_count()}"]
    if options.data_dir:
        arguments.append(f"--data-dir={options.data_dir}")
    if options.restarted_from:
        arguments.append(f"--restarted-from={options.restarted_from}")
    if not options.checkpoints:
        arguments.append("--no-checkpoints")
    # NumPy's BLAS reads these once, when it is loaded.
    threads = dict.fromkeys(THREAD_VARIABLES, str(options.thread_count()))
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuilab.worker", *arguments, "--", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | threads,
        )
    return Worker(folder, process)


def restart(folder: RunFolder, *, new_seed: bool = False, sets: Sequence[str] = ()) -> Worker:
    """Run the scenario of `folder` again from the start, in a new folder beside it."""
    seed = [f"seed={secrets.randbelow(1_000_000)}"] if new_seed else []
    scenario = load(folder.scenario, [*sets, *seed])
    options, name = _options_of(folder)
    named = msgspec.structs.replace(scenario, name=name)
    return start(named, free_path(folder.path), options)


def _options_of(folder: RunFolder) -> tuple[Options, str]:
    try:
        with RunReader(folder.database) as reader:
            info = reader.info()
    except RunError:  # the worker did not come so far
        return Options(restarted_from=folder.name), folder.name
    options = Options(
        backend=info.options.get("backend", "auto"),
        data_dir=info.options.get("data_dir", ""),
        threads=int(info.options.get("threads", "0")),
        restarted_from=folder.name,
    )
    return options, info.scenario


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
