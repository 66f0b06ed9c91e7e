"""The readers' end of `run.db`."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from engine.statistics.frames import (
    BINS,
    FIELDS,
    PER_LAYER,
    TENSORS,
    Event,
    Snapshot,
    Units,
    Validation,
)
from tuilab.errors import RunError
from tuilab.record.schema import (
    FORMAT,
    WITHOUT_UNITS,
    Block,
    History,
    LayerTraces,
    RunInfo,
)


class RunReader:
    """Everybody else's end of `run.db`; follows a live run and opens a finished one alike."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise RunError(f"{path} does not exist; tuilab list shows the runs there are")
        try:
            version = self._open("mode=rw")
        except sqlite3.Error:
            version = self._open_immutable()
        self._has_units = version == FORMAT
        if version not in (FORMAT, WITHOUT_UNITS):
            self._db.close()
            raise RunError(
                f"{path} is not a run that this tuilab can read (format {version}, not {FORMAT}: "
                "it is of another version of tuilab, or no run)"
            )
        self._db.execute("PRAGMA query_only = ON")

    def _open(self, mode: str) -> int:
        """Connect and return the format's number; only reading it touches the file."""
        uri = f"file:{quote(str(self.path))}?{mode}"
        self._db = sqlite3.connect(uri, uri=True, timeout=5)
        try:
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error:
            self._db.close()
            raise

    def _open_immutable(self) -> int:
        """Open a finished run on a read-only medium, where WAL cannot make its index."""
        try:
            return self._open("mode=ro&immutable=1")
        except sqlite3.Error as error:
            raise RunError(f"{self.path} is not a run that can be read: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> "RunReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with closing(self._db.execute(sql, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise RunError(f"{self.path} is damaged or not a run: {error}") from error

    def copy_to(self, path: Path) -> None:
        """Write what is recorded by now into a new database. Raises RunError."""
        try:
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)
        except sqlite3.Error as error:
            raise RunError(f"cannot copy {self.path} to {path}: {error}") from error

    def data_version(self) -> int:
        """Return a number that changes whenever the worker has committed something."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def info(self) -> RunInfo:
        """Return what is known of the run now."""
        rows = self._rows("SELECT key, value FROM run")
        try:
            values = {key: msgspec.json.decode(value) for key, value in rows}
            return msgspec.convert(values, RunInfo)
        except msgspec.MsgspecError as error:
            raise RunError(f"{self.path} is damaged or not a run: {error}") from error

    def blocks(self, after: int = 0, limit: int = -1) -> list[Block]:
        """Return the blocks with id > `after`, in order; at most `limit` unless it is −1."""
        return [
            _block(row)
            for row in self._rows(
                "SELECT id, first_step, time, epoch, steps_per_second, probe_share,"
                " loss, data_loss, accuracy, learning_rate"
                " FROM block WHERE id > ? ORDER BY id LIMIT ?",
                after,
                limit,
            )
        ]

    def last_block(self) -> Block | None:
        """Return the newest block, or None."""
        newest = self._rows("SELECT max(id) - 1 FROM block")[0][0]
        return None if newest is None else self.blocks(after=newest)[0]

    def validations(self, after_step: int = -1) -> list[Validation]:
        """Return the validation results after `after_step`, in order."""
        return [
            Validation(step, epoch, _number(loss), _number(accuracy))
            for step, epoch, loss, accuracy in self._rows(
                "SELECT step, epoch, loss, accuracy FROM validation WHERE step > ? ORDER BY id",
                after_step,
            )
        ]

    def events(self, after: int = 0) -> list[tuple[int, Event]]:
        """Return the events with id > `after`, each with its id."""
        return [
            (key, Event(step, time, kind, msgspec.json.decode(detail)))
            for key, step, time, kind, detail in self._rows(
                "SELECT id, step, time, kind, detail FROM event WHERE id > ? ORDER BY id", after
            )
        ]

    def checkpoints(self) -> list[tuple[int, str]]:
        """Return the steps and the file names of the checkpoints that were saved, in order."""
        return [
            (step, file)
            for step, file in self._rows("SELECT step, file FROM checkpoint ORDER BY id")
        ]

    def snapshot_steps(self) -> list[int]:
        """Return the steps of the recorded snapshots, in order."""
        return [step for (step,) in self._rows("SELECT step FROM snapshot ORDER BY step")]

    def newest_snapshot_step(self) -> int | None:
        """Return the step of the newest snapshot, or None."""
        step = self._rows("SELECT max(step) FROM snapshot")[0][0]
        return None if step is None else int(step)

    def nearest_snapshot_step(self, step: int) -> int | None:
        """Return the step of the snapshot nearest to `step`, or None."""
        found = self._rows("SELECT step FROM snapshot ORDER BY abs(step - ?) LIMIT 1", step)
        return int(found[0][0]) if found else None

    def snapshot(self, step: int | None = None) -> Snapshot | None:
        """Return the snapshot at `step`, or the newest one; None when there is none.

        Its units are left unread: see `units`.
        """
        if step is None:
            step = self.newest_snapshot_step()
        found = self._rows("SELECT id, step, epoch FROM snapshot WHERE step = ?", step)
        return self._assemble(*found[0]) if found else None

    def history(self, layer: int, tensor: str) -> History:
        """Return a tensor of a layer (from 1) over all recorded snapshots."""
        rows = self._rows(
            "SELECT step, mean, std, min, max, zero_fraction, low, high, histogram"
            " FROM tensor"
            " JOIN snapshot ON snapshot.id = tensor.snapshot"
            " WHERE layer = ? AND tensor = ? ORDER BY step",
            layer,
            tensor,
        )
        numbers = np.array([[_number(v) for v in row[:8]] for row in rows]).reshape(-1, 8)
        bins = [np.frombuffer(row[8], "<i8").astype(np.float64) for row in rows]
        steps, mean, std, low, high, zeros = numbers[:, :6].T
        histograms = np.array(bins).reshape(-1, BINS + 2)
        return History(steps, mean, std, low, high, zeros, numbers[:, 6:], histograms)

    def units(self, layer: int, step: int) -> tuple[int, Units] | None:
        """Return what the units of a layer (from 1) did at `step`, and the step that it is of.

        That is an earlier one where they were not kept. None where nothing is known: the layer has
        too many units, or the run is of a version that did not measure them.
        """
        if not self._has_units:
            return None
        rows = self._rows(
            "SELECT step, mean, active, saturated, dead FROM units"
            " JOIN snapshot ON snapshot.id = units.snapshot"
            " WHERE layer = ? AND step <= ? ORDER BY step DESC LIMIT 1",
            layer,
            step,
        )
        if not rows:
            return None
        found, mean, active, saturated, dead = rows[0]
        return found, Units(
            np.frombuffer(mean, "<f4"),
            None if active is None else np.frombuffer(active, "<f2").astype(np.float64),
            None if saturated is None else np.frombuffer(saturated, "<f2").astype(np.float64),
            None if dead is None else np.frombuffer(dead, "?"),
        )

    def layer_traces(self, after_step: int = -1) -> LayerTraces:
        """Return update ratios and gradient norms of all layers at the snapshots after a step."""
        rows = self._rows(
            "SELECT step, layer, update_ratio, count, mean, std"
            " FROM snapshot JOIN tensor ON tensor.snapshot = snapshot.id"
            " WHERE step > ? AND tensor = 'weight_grad' ORDER BY step, layer",
            after_step,
        )
        numbers = np.array([[_number(v) for v in row] for row in rows]).reshape(-1, 6)
        steps, at = np.unique(numbers[:, 0], return_inverse=True)
        layers = numbers[:, 1].astype(np.intp)
        traces = np.full((2, layers.max(initial=0), len(steps)), np.nan)
        count, mean, std = numbers[:, 3:].T
        traces[0, layers - 1, at] = numbers[:, 2]
        with np.errstate(over="ignore", invalid="ignore"):  # of a gradient that is not finite
            traces[1, layers - 1, at] = np.sqrt(count) * np.hypot(mean, std)
        return LayerTraces(steps, traces[0], traces[1])

    def _assemble(self, key: int, step: int, epoch: float) -> Snapshot | None:
        rows = self._rows("SELECT * FROM tensor WHERE snapshot = ?", key)
        if not rows:  # thinned out since it was found
            return None
        layers = max(row[1] for row in rows)
        statistics = np.full((layers, len(TENSORS), len(FIELDS)), np.nan)
        histograms = np.zeros((layers, len(TENSORS), BINS + 2), np.int64)
        ranges = np.full((layers, len(TENSORS), 2), np.nan)
        of_layer = np.full((len(PER_LAYER), layers), np.nan)
        end = 3 + len(FIELDS)
        for row in rows:
            at = row[1] - 1, TENSORS.index(row[2])
            statistics[at] = [_number(value) for value in row[3:end]]
            ranges[at] = [_number(value) for value in row[end : end + 2]]
            histograms[at] = np.frombuffer(row[end + 2], "<i8")
            of_layer[:, at[0]] = [_number(value) for value in row[end + 3 :]]
        named = dict(zip(PER_LAYER, of_layer, strict=True))
        return Snapshot(step, epoch, statistics, histograms, ranges, **named)


def _number(value: float | None) -> float:
    """Return a column's value; SQLite stores NaN as NULL."""
    return float("nan") if value is None else value


def _block(row: Sequence[Any]) -> Block:
    loss = np.frombuffer(row[6], "<f8")
    key, first_step, time, epoch = row[:4]
    return Block(
        id=key,
        first_step=first_step,
        time=time,
        epoch=epoch,
        steps_per_second=_number(row[4]),
        probe_share=_number(row[5]),
        loss=loss,
        data_loss=loss if row[7] is None else np.frombuffer(row[7], "<f8"),
        accuracy=np.frombuffer(row[8], "<f4").astype(np.float64),
        learning_rate=np.resize(np.frombuffer(row[9], "<f8"), len(loss)),
    )
