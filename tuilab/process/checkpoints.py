"""The checkpoints of a run: saved during training, thinned out, and loaded to resume from.

A checkpoint is taken right after a frame was recorded, and then recorded itself. So what the
database held at that moment is known, and a resumed run begins by rewinding to it.
"""

import sys
from itertools import compress
from time import monotonic, perf_counter
from typing import Final

from engine.states import RunState
from engine.training.checkpoint import Checkpoint
from engine.training.trainer import Trainer
from tuilab.claims.metrics import Record
from tuilab.diagnosis.rules.loss import EXPLODED
from tuilab.errors import RunError
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import SavedCheckpoint, saved_checkpoints
from tuilab.terminal import shell_command

KEPT: Final = 5
INTERVAL: Final = 5.0  # seconds between two of them, where the scenario does not say
BUDGET: Final = 0.01  # share of the time that saving may take; the interval grows for it


def usable(folder: RunFolder) -> tuple[list[SavedCheckpoint], bool]:
    """Return the checkpoints to resume from, oldest first, and whether the run diverged.

    A run that diverged is resumed from before its loss began to explode. Raises RunError.
    """
    with RunReader(folder.database) as reader:
        checkpoints = saved_checkpoints(folder, reader)
        diverged = reader.info().state is RunState.DIVERGED
        if diverged:
            loss = Record(reader).loss
            last = len(loss) - 1
            after = [float(loss[min(checkpoint.step, last)]) for checkpoint in checkpoints]
            checkpoints = list(
                compress(checkpoints, (value <= EXPLODED * loss[0] for value in after))
            )
    return checkpoints, diverged


def newest(folder: RunFolder) -> tuple[SavedCheckpoint, Checkpoint]:
    """Return the last checkpoint to resume from, loaded. Raises RunError, CheckpointError."""
    checkpoints, diverged = usable(folder)
    if not checkpoints:
        when = "the loss exploded" if diverged else "it ended"
        advice = " with a lower learning rate: --set optimizer.learning_rate=…" if diverged else ""
        raise RunError(
            f"{folder.path} has no checkpoint to resume from: {when} before the first was saved; "
            f"start it again{advice} ({shell_command('run', folder.scenario)})"
        )
    last = checkpoints[-1]
    try:
        return last, Checkpoint.load(last.path)
    except Exception as error:
        if len(checkpoints) > 1:
            error.args = (f"{error}; remove it to resume from step {checkpoints[-2].step}",)
        raise


class CheckpointSaver:
    """Saves checkpoints of a run: every `every` steps, or else about every INTERVAL seconds."""

    def __init__(self, folder: RunFolder, writer: RunWriter, every: int | None) -> None:
        self._folder, self._writer, self._every = folder, writer, every
        with RunReader(folder.database) as reader:
            self._saved = saved_checkpoints(folder, reader)
        self._last = monotonic()
        self._interval = INTERVAL

    def frame_recorded(self, trainer: Trainer, *, requested: bool = False) -> None:
        """Save a checkpoint if one is due or `requested`, or if the run has ended well."""
        if trainer.state != RunState.DIVERGED and self._is_due(trainer, requested):
            self._save(trainer)

    def _is_due(self, trainer: Trainer, requested: bool) -> bool:
        before = self._saved[-1].step if self._saved else 0
        if trainer.step <= before:
            return False
        if requested or trainer.state in (RunState.FINISHED, RunState.STOPPED):
            return True
        if self._every is not None:
            return trainer.step // self._every > before // self._every
        return monotonic() - self._last >= self._interval

    def _save(self, trainer: Trainer) -> None:
        begin = perf_counter()
        path = self._folder.checkpoints / f"step-{trainer.step:09}.safetensors"
        try:
            path.parent.mkdir(exist_ok=True)
            trainer.checkpoint().save(path)
            self._writer.checkpoint_saved(trainer.step, path.name)
        except (OSError, RunError) as error:  # a full disk: training is worth more than this
            print(f"tuilab worker: no checkpoint: {error}", file=sys.stderr, flush=True)
        else:
            self._saved.append(SavedCheckpoint(trainer.step, path))
            self._thin()
        self._last = monotonic()
        self._interval = max(INTERVAL, (perf_counter() - begin) / BUDGET)

    def _thin(self) -> None:
        """Keep the first, the newest, and of the others those that are furthest apart."""
        while len(self._saved) > KEPT:
            steps = [checkpoint.step for checkpoint in self._saved]
            closest = min(range(1, len(steps) - 1), key=lambda at: steps[at + 1] - steps[at - 1])
            self._saved.pop(closest).path.unlink(missing_ok=True)
