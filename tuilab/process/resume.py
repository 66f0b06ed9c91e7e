"""Resuming a run that has ended, from one of its checkpoints."""

import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from engine.errors import ConfigError
from engine.optimization.hyperparameters import Hyperparameters
from engine.states import RunState
from tuilab.errors import RunError
from tuilab.process.checkpoints import newest
from tuilab.process.launch import Options, Worker, launch, options_of, restart, write_atomically
from tuilab.record import Origin, Process, RunReader, RunWriter, Status
from tuilab.record.run_folder import RunFolder, create, free_path
from tuilab.record.saved_parameters import SavedCheckpoint
from tuilab.scenario.loading import load
from tuilab.terminal import shell_command


def resume(
    folder: RunFolder, options: Options, *, steps: int | None, sets: Sequence[str]
) -> Worker:
    """Resume a run that has ended from its newest checkpoint.

    `steps` is its new total number of steps, where that changes; `sets` are hyper-parameters,
    "optimizer.learning_rate=0.01". Raises RunError, CheckpointError, ConfigError, ScenarioError.
    """
    if folder.is_alive():
        raise RunError(
            f"{folder.path} is still training; view it: {shell_command('attach', folder.path)}"
        )
    last, checkpoint = newest(folder)
    hyper = Hyperparameters(checkpoint.hyperparameters)
    changes = [parse_change(hyper, assignment) for assignment in sets]
    recorded, name, variant = options_of(folder)
    scenario = load(folder.scenario, [] if steps is None else [f"train.steps={steps}"])
    if steps is None:
        with RunReader(folder.database) as reader:
            steps = reader.info().total_steps
    if last.step >= steps:
        raise RunError(
            f"{folder.path} finished its {last.step} steps; pass --steps to train longer"
        )
    write_atomically(folder.scenario, scenario.to_toml())
    named = msgspec.structs.replace(scenario, name=name, variant=variant)
    first = as_arguments(changes)
    return launch(folder, named, options.or_else(recorded), "--resume", *first)


def go_on(folder: RunFolder) -> Worker:
    """Continue a run that has ended; after a divergence, with a lower learning rate.

    It is a tenth of the one it diverged at, or that from before the loss exploded, if it was still
    lower; and a new run, so that the diverged one remains.
    Raises RunError, CheckpointError, ScenarioError.
    """
    with RunReader(folder.database) as reader:
        info = reader.info()
    if info.state is not RunState.DIVERGED:
        return resume(folder, Options(), steps=None, sets=())
    lower = info.hyperparameters["learning_rate"] / 10
    try:
        last, checkpoint = newest(folder)
    except RunError:  # only the start was good
        return restart(folder, sets=[f"optimizer.learning_rate={lower:g}"])
    lower = min(lower, checkpoint.hyperparameters["learning_rate"])
    copy = branch(folder, last, free_path(folder.path))
    return resume(
        copy,
        Options(restarted_from=folder.name),
        steps=None,
        sets=[f"optimizer.learning_rate={lower:g}"],
    )


def branch(folder: RunFolder, last: SavedCheckpoint, path: Path) -> RunFolder:
    """Copy a run, alive or not, up to the checkpoint `last`. Raises RunError, FileNotFoundError.

    FileNotFoundError where the checkpoint has been thinned out meanwhile; nothing is left then.
    """
    copy = create(path)
    copy.checkpoints.mkdir(exist_ok=True)
    try:
        shutil.copyfile(last.path, copy.checkpoints / last.path.name)
    except FileNotFoundError:
        copy.checkpoints.rmdir()
        raise
    for file in (folder.scenario, folder.preprocess):
        if file.exists():
            shutil.copyfile(file, copy.path / file.name)
    with RunReader(folder.database) as reader:
        reader.copy_to(copy.database)
    with closing(RunWriter(copy.database, resume=True)) as writer:
        writer.rewind(last.step)
        # With the socket of a living run in its record, the copy would send commands to that one.
        writer.describe(Status(), Process(), Origin(created=time.time()))
    return copy


def parse_change(hyper: Hyperparameters, assignment: str) -> tuple[str, float]:
    """Return what "optimizer.KEY=VALUE" sets, and to what. Raises ConfigError."""
    key, _, text = (part.strip() for part in assignment.partition("="))
    section, _, name = key.rpartition(".")
    if section != "optimizer":
        raise ConfigError("only a hyper-parameter of [optimizer] can change in a resumed run", key)
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"must be a number, is '{text}'", key) from None
    hyper.validate(name, value)
    return name, value


def as_arguments(changes: Sequence[tuple[str, float]]) -> list[str]:
    """Return the worker's options that make these changes before its first step."""
    return [f"--set={name}={value!r}" for name, value in changes]
