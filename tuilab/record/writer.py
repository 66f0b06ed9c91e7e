"""The worker's end of `run.db`."""

import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.statistics.frames import FIELDS, PER_LAYER, TENSORS, Floats, Frame, Snapshot
from tuilab.errors import RunError
from tuilab.record.schema import SCHEMA

KEPT_FIRST: Final = 16  # snapshots from the start that are never thinned
SPREAD: Final = 256  # thinning starts at twice this many others, and leaves this many
UNITS_APART: Final = 8  # of the others, every so many'th of those that are left keeps its units
_TENSOR_COLUMNS: Final = 6 + len(FIELDS) + len(PER_LAYER)  # 6: snapshot, layer, tensor …


class RunWriter:
    """The worker's end of `run.db`: one transaction a call."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Create the database, or open that of a run that goes on. Raises RunError."""
        self._path = path
        try:
            self._db = _open(path, create=not resume)
        except sqlite3.Error as error:
            raise RunError(f"cannot create or open {path}: {error}") from error
        self._stride = 1
        self._ordinal = 0
        self._batch_dependence: list[dict[str, Any]] = []

    def rewind(self, step: int) -> None:
        """Forget what was recorded after the checkpoint at `step`."""
        with self._transaction():
            self._db.execute("DELETE FROM block WHERE first_step >= ?", (step,))
            self._db.execute("DELETE FROM validation WHERE step > ?", (step,))
            self._db.execute("DELETE FROM checkpoint WHERE step > ?", (step,))
            self._db.execute(
                "DELETE FROM event WHERE id > (SELECT max(last_event) FROM checkpoint)"
            )
            self._db.execute("DELETE FROM snapshot WHERE step >= ?", (step,))
            self._ordinal = KEPT_FIRST  # what came first is recorded
            measured: list[dict[str, Any]] = self._recorded("batch_dependence", [])
            kept = [each for each in measured if each["step"] <= step]
            self._batch_dependence = kept
            now = {"step": step, "message": "", "batch_dependence": kept}
            self._describe(now | {"resumed": self._recorded("resumed", 0) + 1})

    def _recorded(self, key: str, otherwise: Any) -> Any:
        rows = self._db.execute("SELECT value FROM run WHERE key = ?", (key,)).fetchall()
        return msgspec.json.decode(rows[0][0]) if rows else otherwise

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; raises RunError where the disk is full or the file cannot be written."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise RunError(f"cannot write {self._path}: {error}") from error

    def describe(self, **values: Any) -> None:
        """Set fields of RunInfo."""
        with self._transaction():
            self._describe(values)

    def _describe(self, values: Mapping[str, Any]) -> None:
        rows = [(key, msgspec.json.encode(value).decode()) for key, value in values.items()]
        self._db.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)

    def checkpoint_saved(self, step: int, file: str) -> None:
        """Record that the state after all that is recorded by now was saved."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO checkpoint (step, file, last_event)"
                " VALUES (?, ?, (SELECT coalesce(max(id), 0) FROM event))",
                (step, file),
            )

    def write(self, frame: Frame) -> None:
        """Record one frame, whole or not at all."""
        with self._transaction():
            if len(frame.loss):
                same = np.array_equal(frame.loss, frame.data_loss, equal_nan=True)
                self._db.execute(
                    "INSERT INTO block (first_step, time, epoch, steps_per_second, probe_share,"
                    " loss, data_loss, accuracy, learning_rate) VALUES (?,?,?,?,?,?,?,?,?)",
                    (
                        frame.first_step,
                        frame.time,
                        frame.epoch,
                        frame.steps_per_second,
                        frame.probe_share,
                        frame.loss.astype("<f8").tobytes(),
                        None if same else frame.data_loss.astype("<f8").tobytes(),
                        frame.accuracy.astype("<f4").tobytes(),
                        _constant_once(frame.learning_rate).astype("<f8").tobytes(),
                    ),
                )
            self._db.executemany(
                "INSERT INTO validation (step, epoch, loss, accuracy) VALUES (?,?,?,?)",
                [(v.step, v.epoch, v.loss, v.accuracy) for v in frame.validations],
            )
            self._db.executemany(
                "INSERT INTO event (step, time, kind, detail) VALUES (?,?,?,?)",
                [
                    (e.step, e.time, e.kind, msgspec.json.encode(e.detail).decode())
                    for e in frame.events
                ],
            )
            if frame.snapshot is not None:
                self._write_snapshot(frame.snapshot, keep=bool(frame.events) or self._last(frame))
            now: dict[str, Any] = {"state": frame.state, "step": frame.next_step}
            if frame.batch_dependence is not None:
                self._batch_dependence.append(msgspec.to_builtins(frame.batch_dependence))
                now["batch_dependence"] = self._batch_dependence
            if frame.standing is not None:
                now |= dataclasses.asdict(frame.standing)
            self._describe(now | {"hyperparameters": frame.hyperparameters})

    @staticmethod
    def _last(frame: Frame) -> bool:
        return frame.state not in ("running", "paused")

    def _write_snapshot(self, snapshot: Snapshot, keep: bool) -> None:
        self._ordinal += 1
        kept = keep or self._ordinal <= KEPT_FIRST
        cursor = self._db.execute(
            "INSERT INTO snapshot (step, epoch, gain_forward, gain_backward, kept)"
            " VALUES (?,?,?,?,?)",
            (snapshot.step, snapshot.epoch, snapshot.gain_forward, snapshot.gain_backward, kept),
        )
        key = cursor.lastrowid
        rows = []
        for layer in range(len(snapshot.statistics)):
            for t, tensor in enumerate(TENSORS):
                rows.append(
                    (
                        key,
                        layer + 1,
                        tensor,
                        *snapshot.statistics[layer, t].tolist(),
                        *snapshot.ranges[layer, t].tolist(),
                        snapshot.histograms[layer, t].astype("<i8").tobytes(),
                        *(float(getattr(snapshot, name)[layer]) for name in PER_LAYER),
                    )
                )
        marks = ",".join("?" * _TENSOR_COLUMNS)
        self._db.executemany(f"INSERT INTO tensor VALUES ({marks})", rows)
        self._write_units(key, snapshot)
        self._thin()

    def _write_units(self, key: int | None, snapshot: Snapshot) -> None:
        rows = [
            (
                key,
                layer,
                units.mean.astype("<f4").tobytes(),
                _bytes(units.active, "<f2"),
                _bytes(units.saturated, "<f2"),
                _bytes(units.dead, "u1"),
            )
            for layer, units in enumerate(snapshot.units, start=1)
            if units is not None
        ]
        self._db.executemany("INSERT INTO units VALUES (?,?,?,?,?,?)", rows)

    def _thin(self) -> None:
        """Keep an even spread: every `_stride`-th one; when there are twice too many, half of them.

        The newest is there in any case, until the next one comes.
        """
        (count,) = self._db.execute("SELECT count(*) FROM snapshot WHERE NOT kept").fetchone()
        if count >= 2 * SPREAD:
            self._stride *= 2
        self._db.execute(
            "DELETE FROM units WHERE snapshot IN (SELECT snapshot.id FROM snapshot"
            " JOIN units ON units.snapshot = snapshot.id"
            " WHERE NOT kept AND snapshot.id % ? != 0"
            " AND snapshot.id < (SELECT max(id) FROM snapshot))",
            (self._stride * UNITS_APART,),
        )
        if self._stride == 1:
            return
        self._db.execute(
            "DELETE FROM snapshot WHERE NOT kept AND id % ? != 0"
            " AND id < (SELECT max(id) FROM snapshot)",
            (self._stride,),
        )


def _constant_once(values: Floats) -> Floats:
    return values[:1] if (values == values[0]).all() else values


def _bytes(values: npt.NDArray[Any] | None, form: str) -> bytes | None:
    return None if values is None else values.astype(form).tobytes()


def _open(path: Path, *, create: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        if create:
            db.executescript(SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
