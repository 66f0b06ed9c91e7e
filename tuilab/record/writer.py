"""Writes `run.db`; only the training process does."""

import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.states import RunState
from engine.statistics.frames import FIELDS, PER_LAYER, Floats, Frame, LayerInfo, Snapshot
from tuilab.errors import RunError
from tuilab.record.old_formats import OLD_FORMATS, migrate
from tuilab.record.run_info import (
    Origin,
    Part,
    Progress,
    RunInfo,
    Status,
    parse_info,
    part_of,
)
from tuilab.record.schema import FORMAT, SCHEMA

KEPT_FIRST: Final = 16  # snapshots from the start that are never thinned
SPREAD: Final = 256  # thinning starts at twice this many others, and leaves this many
UNITS_APART: Final = 8  # of the other snapshots that are left, every eighth keeps its units
SINGLE_PRECISION: Final = frozenset({"accuracy"})  # series stored as float32
LAYER_COLUMNS: Final = ("index", "name", "units", "activation", "normalization", "parameters",
                        "first", "settings", "between", "sees", "frozen")  # fmt: skip
"""Fields of a layer that share its JSON column; the others have columns of their own."""


class RunWriter:
    """Writes a run: `describe` what it is, then `write` frames; one transaction a call.

    with closing(RunWriter(path)) as writer:
        writer.describe(ScenarioInfo(title="Mine"), Status(state=RunState.RUNNING))
        writer.write(Frame(first_step=0, series={"loss": losses}))
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Create the database, or open that of a run to resume. Raises RunError.

        A database of an older format is brought to the present one first.
        """
        self.path = path
        self._stride = 1
        self._ordinal = 0
        self._written: dict[str, str] = {}  # what the table `run` holds, as JSON
        self._status, self._progress = Status(), Progress()
        try:
            self._db = _open(path, create=not resume)
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error as error:
            raise RunError(f"cannot create or open {path}: {error}") from error
        if resume:
            self._resume(version)

    def _resume(self, version: int) -> None:
        try:
            if version in OLD_FORMATS:
                with self._transaction():
                    self._write_layers(migrate(self._db, version))
            elif version != FORMAT:
                raise RunError(f"{self.path} has format {version}; this tuilab writes {FORMAT}")
            info = self._info()
        except (RunError, msgspec.MsgspecError) as error:
            self._db.close()
            raise RunError(f"cannot resume {self.path}: {error}") from error
        self._status, self._progress = part_of(info, Status), part_of(info, Progress)

    def _info(self) -> RunInfo:
        """Return what is recorded of the run, without its layers."""
        rows = self._db.execute("SELECT key, value FROM run")
        return parse_info({key: msgspec.json.decode(value) for key, value in rows}, ())

    def rewind(self, step: int) -> None:
        """Discard what was recorded after the checkpoint at `step`."""
        with self._transaction():
            self._db.execute("DELETE FROM block WHERE first_step >= ?", (step,))
            self._db.execute("DELETE FROM validation WHERE step > ?", (step,))
            self._db.execute("DELETE FROM checkpoint WHERE step > ?", (step,))
            self._db.execute(
                "DELETE FROM event WHERE id > (SELECT max(last_event) FROM checkpoint)"
            )
            self._db.execute("DELETE FROM snapshot WHERE step >= ?", (step,))
            self._ordinal = KEPT_FIRST  # the first snapshots are recorded
            measured = tuple(
                row for row in self._progress.batch_dependence if (row["step"] or 0) <= step
            )
            origin = part_of(self._info(), Origin)
            self._describe(
                dataclasses.replace(self._progress, step=step, batch_dependence=measured),
                dataclasses.replace(self._status, message=""),
                dataclasses.replace(origin, resumed=origin.resumed + 1),
            )

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
        except BaseException as error:
            self._written.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise RunError(f"cannot write {self.path}: {error}") from error
            raise

    def describe(self, *parts: Part) -> None:
        """Record parts of what is known of the run, each of them whole."""
        with self._transaction():
            self._describe(*parts)

    def _describe(self, *parts: Part) -> None:
        rows: dict[str, str] = {}
        for part in parts:
            if isinstance(part, Status):
                self._status = part_of(part, Status) if isinstance(part, RunInfo) else part
            if isinstance(part, Progress):
                self._progress = part_of(part, Progress) if isinstance(part, RunInfo) else part
            for field in fields(part):
                if field.name == "layers":
                    self._write_layers(part.layers)  # type: ignore[union-attr]
                else:
                    value = getattr(part, field.name)
                    rows[field.name] = msgspec.json.encode(value).decode()
        changed = {key: text for key, text in rows.items() if self._written.get(key) != text}
        self._db.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", changed.items())
        self._written |= changed

    def _write_layers(self, layers: Sequence[LayerInfo]) -> None:
        self._db.execute("DELETE FROM layer")
        rows = []
        for position, layer in enumerate(layers, start=1):
            rest = {name: getattr(layer, name) for name in LAYER_COLUMNS}
            limits = (*layer.bounds, *(layer.saturated or (None, None)), layer.silent_at)
            named = layer.location, layer.parent, layer.kind, layer.role
            rows.append((position, *named, *limits, msgspec.json.encode(rest).decode()))
        self._db.executemany("INSERT INTO layer VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)

    def checkpoint_saved(self, step: int, file: str) -> None:
        """Record that the state after everything recorded before was saved."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO checkpoint (step, file, last_event)"
                " VALUES (?, ?, (SELECT coalesce(max(id), 0) FROM event))",
                (step, file),
            )

    def write(self, frame: Frame) -> None:
        """Record one frame, whole or not at all. Raises RunError."""
        status, progress = self._status, self._progress
        try:
            with self._transaction():
                self._write(frame)
        except RunError:
            self._status, self._progress = status, progress
            raise

    def _write(self, frame: Frame) -> None:
        state = RunState(frame.state)  # also of a source that gives its name
        if frame.steps:
            self._write_block(frame)
        self._db.executemany(
            "INSERT INTO validation (step, epoch, name, value) VALUES (?,?,?,?)",
            [
                (validation.step, validation.epoch, name, float(value))
                for validation in frame.validations
                for name, value in validation.values.items()
            ],
        )
        self._db.executemany(
            "INSERT INTO event (step, time, kind, detail) VALUES (?,?,?,?)",
            [
                (event.step, event.time, event.kind, msgspec.json.encode(event.detail).decode())
                for event in frame.events
            ],
        )
        if frame.snapshot is not None:
            keep = bool(frame.events) or not state.live
            self._write_snapshot(frame.snapshot, keep=keep)
        measured = self._progress.batch_dependence
        if frame.batch_dependence is not None:
            measured = (*measured, msgspec.to_builtins(frame.batch_dependence))
        progress = Progress(
            step=frame.next_step,
            hyperparameters=dict(frame.hyperparameters) or self._progress.hyperparameters,
            batch_dependence=measured,
        )
        self._describe(dataclasses.replace(self._status, state=state), progress)
        if frame.status is not None:
            self._describe(frame.status)

    def _write_block(self, frame: Frame) -> None:
        cursor = self._db.execute(
            "INSERT INTO block (first_step, steps, time, epoch, steps_per_second, probe_share)"
            " VALUES (?,?,?,?,?,?)",
            (
                frame.first_step,
                frame.steps,
                frame.time,
                frame.epoch,
                frame.steps_per_second,
                frame.probe_share,
            ),
        )
        self._db.executemany(
            "INSERT INTO series VALUES (?,?,?,?)",
            [
                (cursor.lastrowid, name, *_encoded(name, values))
                for name, values in _distinct(frame.series).items()
            ],
        )

    def _write_snapshot(self, snapshot: Snapshot, *, keep: bool) -> None:
        self._ordinal += 1
        permanent = keep or self._ordinal <= KEPT_FIRST
        cursor = self._db.execute(
            "INSERT INTO snapshot (step, epoch, kept) VALUES (?,?,?)",
            (snapshot.step, snapshot.epoch, permanent),
        )
        key = cursor.lastrowid
        by_layer = np.stack([getattr(snapshot, name) for name in PER_LAYER], axis=1).tolist()
        self._db.executemany(
            f"INSERT INTO layer_statistics VALUES ({_marks(2 + len(PER_LAYER))})",
            [(key, layer, *values) for layer, values in enumerate(by_layer, start=1)],
        )
        self._db.executemany(
            f"INSERT INTO tensor VALUES ({_marks(6 + len(FIELDS))})",
            [(key, *row) for row in _tensor_rows(snapshot)],
        )
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


def _distinct(series: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the series to store; a data loss equal to the loss is not stored twice."""
    arrays = {name: np.asarray(values, np.float64) for name, values in series.items()}
    stored = {name: values for name, values in arrays.items() if len(values)}
    if {"loss", "data_loss"} <= stored.keys():
        same = np.array_equal(stored["loss"], stored["data_loss"], equal_nan=True)
        if same:
            del stored["data_loss"]
    return stored


def _encoded(name: str, values: Floats) -> tuple[str, bytes]:
    """Return the type and the bytes of a series; one value where it is constant."""
    form = "f4" if name in SINGLE_PRECISION else "f8"
    constant = (values == values[0]).all()
    return form, (values[:1] if constant else values).astype(f"<{form}").tobytes()


def _tensor_rows(snapshot: Snapshot) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each tensor of each layer; none for a tensor that the layer lacks."""
    largest = int(snapshot.histograms.max(initial=0))
    histograms = snapshot.histograms.astype("<u4" if largest < 1 << 32 else "<i8")
    numbers = np.concatenate([snapshot.statistics, snapshot.ranges], axis=2)
    rows = numbers.tolist()
    absent = np.isnan(numbers).all(axis=2).tolist()
    for layer in range(len(snapshot)):
        for at, tensor in enumerate(snapshot.tensors):
            if not absent[layer][at]:
                yield layer + 1, tensor, *rows[layer][at], histograms[layer, at].tobytes()


def _marks(count: int) -> str:
    return ",".join("?" * count)


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
