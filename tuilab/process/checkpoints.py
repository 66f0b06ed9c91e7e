"""The checkpoints of a run: saved as it goes, a few of them kept, found again to go on from.

A checkpoint is taken right after a frame was recorded, and then recorded itself. So what the
database held at that moment is known, and a resumed run begins by going back to it.
"""

import sys
from itertools import compress
from time import monotonic, perf_counter
from typing import Final

from engine.training.checkpoint import Checkpoint
from engine.training.trainer import Trainer
from tuilab.claims.metrics import Record
from tuilab.diagnosis.rules.loss import EXPLODED
from tuilab.errors import RunError
from tuilab.record import RunReader, RunWriter
from tuilab.record.run_folder import RunFolder
from tuilab.record.saved_parameters import SavedCheckpoint, saved_checkpoints
from tuilab.terminal import to_type

KEPT: Final = 5
INTERVAL: Final = 5.0  # seconds between two of them, where the scenario does not say
BUDGET: Final = 0.01  # of the time at most, for which the interval grows


def usable(folder: RunFolder) -> tuple[list[SavedCheckpoint], bool]:
    """Return where a run can go on, oldest first, and whether it diverged. Raises RunError.

    A run that diverged goes on from before its loss began to explode.
    """
    with RunReader(folder.database) as reader:
        found, diverged = saved_checkpoints(folder, reader), reader.info().state == "diverged"
        if diverged:
            loss = Record(reader).loss
            after = [float(loss[min(each.step, len(loss) - 1)]) for each in found]  # what it led to
            good = [value <= EXPLODED * loss[0] for value in after]
            found = list(compress(found, good))
    return found, diverged


def newest(folder: RunFolder) -> tuple[SavedCheckpoint, Checkpoint]:
    """Return where a run can go on last, and what is there. Raises RunError, CheckpointError."""
    found, diverged = usable(folder)
    if not found:
        when = "the loss exploded" if diverged else "it ended"
        advice = " with a lower learning rate: --set optimizer.learning_rate=…" if diverged else ""
        raise RunError(
            f"{folder.path} has no checkpoint to go on from: {when} before the first was saved; "
            f"start it anew{advice} ({to_type('run', folder.scenario)})"
        )
    last = found[-1]
    try:
        return last, Checkpoint.load(last.path)
    except Exception as error:
        if len(found) > 1:
            error.args = (f"{error}; remove it to go on from step {found[-2].step}",)
        raise


class Keeper:
    """Saves checkpoints of a run: every so many steps, or else about every INTERVAL seconds."""

    def __init__(self, folder: RunFolder, writer: RunWriter, every: int | None) -> None:
        self._folder, self._writer, self._every = folder, writer, every
        with RunReader(folder.database) as reader:
            self._kept = saved_checkpoints(folder, reader)
        self._last = monotonic()
        self._interval = INTERVAL

    def frame_recorded(self, trainer: Trainer, *, wanted: bool = False) -> None:
        """Save a checkpoint if one is due or `wanted`; always of a run that has ended well."""
        if trainer.state != "diverged" and self._is_due(trainer, wanted):
            self._save(trainer)

    def _is_due(self, trainer: Trainer, wanted: bool) -> bool:
        before = self._kept[-1].step if self._kept else 0
        if trainer.step <= before:
            return False
        if wanted or trainer.state in ("finished", "stopped"):
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
            self._kept.append(SavedCheckpoint(trainer.step, path))
            self._thin()
        self._last = monotonic()
        self._interval = max(INTERVAL, (perf_counter() - begin) / BUDGET)

    def _thin(self) -> None:
        """Keep the first, the newest, and of the others those that lie furthest apart."""
        while len(self._kept) > KEPT:
            steps = [each.step for each in self._kept]
            closest = min(range(1, len(steps) - 1), key=lambda at: steps[at + 1] - steps[at - 1])
            self._kept.pop(closest).path.unlink(missing_ok=True)
