"""Forks: a run that branches off another at one of its checkpoints, with settings changed.

A fork holds what both have in common, and draws the same batches in the same order from there on;
its parent does not change, and may continue.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from engine.commands import Command
from engine.optimization.hyperparameters import Hyperparameters
from engine.states import EventKind
from engine.training.checkpoint import Checkpoint
from tuilab.errors import RunError
from tuilab.process.checkpoints import usable
from tuilab.process.launch import Options, Worker, launch, options_of, write_atomically
from tuilab.process.resume import as_arguments, branch, parse_change, resume
from tuilab.record import Fork, RunReader
from tuilab.record.control_socket import ControlClient
from tuilab.record.run_folder import RunFolder, create, free_path
from tuilab.record.saved_parameters import SavedCheckpoint, saved_checkpoints
from tuilab.scenario.loading import load

ATTEMPTS: Final = 5  # at a checkpoint before it is thinned out
PATIENCE: Final = 5.0  # seconds that a living run may take to save a checkpoint
POLL: Final = 0.02  # seconds


def fork(
    folder: RunFolder,
    options: Options,
    *,
    at: int | None = None,
    steps: int | None = None,
    sets: Sequence[str] = (),
    out: Path | None = None,
) -> Worker:
    """Start a run that branches off the one in `folder` at or before step `at`; None means now.

    It begins at the newest checkpoint until then, or at the start where there is none; of a run
    that is being trained one is saved now. `steps` is its total number of steps, where that
    changes; `sets` are hyper-parameters, "optimizer.learning_rate=0.01". Its folder is `out`, or
    one beside that of its parent. Raises RunError, CheckpointError, ConfigError, ScenarioError.
    """
    if at is None:
        _save_now(folder)
    for left in reversed(range(ATTEMPTS)):
        point = fork_point(folder, at, steps)
        load(folder.scenario)  # what is wrong with the parent is reported before there is a child
        path = out or free_path(folder.path)
        try:
            if point is None:
                return _from_start(folder, options, steps, sets, path)
            return _from_checkpoint(folder, point, options, steps, sets, path)
        except FileNotFoundError:
            if not left:
                raise RunError(f"{point.path if point else folder.path} no longer exists") from None
    raise AssertionError


def fork_point(
    folder: RunFolder, at: int | None = None, steps: int | None = None
) -> SavedCheckpoint | None:
    """Return the newest checkpoint until step `at` after which there is anything left to train.

    None where there is none: a fork begins at the start then. Raises RunError.
    """
    if steps is None:
        with RunReader(folder.database) as reader:
            steps = reader.info().total_steps
    until = steps - 1 if at is None else min(at, steps - 1)
    checkpoints = [checkpoint for checkpoint in usable(folder)[0] if checkpoint.step <= until]
    return checkpoints[-1] if checkpoints else None


def _from_checkpoint(
    folder: RunFolder,
    point: SavedCheckpoint,
    options: Options,
    steps: int | None,
    sets: Sequence[str],
    path: Path,
) -> Worker:
    hyper = Hyperparameters(_load(point).hyperparameters)
    changes = [parse_change(hyper, assignment) for assignment in sets]
    forked = replace(options, fork=Fork(folder.name, point.step, dict(changes)))
    return resume(branch(folder, point, path), forked, steps=steps, sets=sets)


def _load(point: SavedCheckpoint) -> Checkpoint:
    if not point.path.is_file():
        raise FileNotFoundError(point.path)
    return Checkpoint.load(point.path)


def _from_start(
    folder: RunFolder, options: Options, steps: int | None, sets: Sequence[str], path: Path
) -> Worker:
    """Start the scenario again, with the same seed; changes are applied before the first step."""
    scenario = load(folder.scenario, [] if steps is None else [f"train.steps={steps}"])
    with RunReader(folder.database) as reader:
        hyper = Hyperparameters(reader.info().hyperparameters)
    changes = [parse_change(hyper, assignment) for assignment in sets]
    recorded, name, variant = options_of(folder)
    named = msgspec.structs.replace(scenario, name=name, variant=variant)
    new = create(path)
    write_atomically(new.scenario, scenario.to_toml())
    forked = replace(options.or_else(recorded), fork=Fork(folder.name, 0, dict(changes)))
    return launch(new, named, forked, *as_arguments(changes))


def _save_now(folder: RunFolder) -> None:
    """Have a live run save a checkpoint and wait for it; older ones are used if it cannot."""
    with RunReader(folder.database) as reader:
        info, known = reader.info(), [key for key, _ in reader.events()]
        if not folder.is_alive() or not info.socket:
            return
        with suppress(RunError):  # it has ended meanwhile
            ControlClient(info.socket).send(Command("checkpoint"))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and folder.is_alive():
            new = [event for _, event in reader.events(known[-1] if known else 0)]
            requested = [event.step for event in new if event.kind == EventKind.CHECKPOINT]
            saved = saved_checkpoints(folder, reader)
            if requested and saved and saved[-1].step >= requested[0]:
                return
            time.sleep(POLL)
