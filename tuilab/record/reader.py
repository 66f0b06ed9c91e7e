"""The readers' end of `run.db`."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt

from engine.statistics.frames import (
    BINS,
    FIELDS,
    PER_LAYER,
    TENSORS,
    Event,
    Floats,
    LayerInfo,
    Snapshot,
    Units,
    Validation,
)
from tuilab.errors import RunError
from tuilab.record.old_formats import OLD_FORMATS, complete_layers, present
from tuilab.record.run_info import RunInfo, parse_info, parse_layer
from tuilab.record.schema import FORMAT, Block, History, LayerTraces

QUOTED_FIELDS: Final = ", ".join(f'"{name}"' for name in FIELDS)


class RunReader:
    """Reads `run.db`; follows a live run and opens a finished one alike."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._layer_rows: list[tuple[Any, ...]] = []  # as read last, and what they say
        self._parsed_layers: tuple[LayerInfo, ...] = ()
        if not path.is_file():
            raise RunError(f"{path} does not exist; tuilab list shows all runs")
        try:
            version = self._open("mode=rw")
        except sqlite3.Error:
            version = self._open_immutable()
        if version not in (FORMAT, *OLD_FORMATS):
            self._db.close()
            raise RunError(
                f"{path} is not a run that this tuilab can read (format {version}, not {FORMAT}: "
                "it was recorded by another version of tuilab, or is not a run)"
            )
        try:
            if version in OLD_FORMATS:
                present(self._db, version)
            self._db.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            self._db.close()
            raise RunError(f"{path} is damaged or not a run: {error}") from error

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
        """Open a finished run on a read-only medium, where WAL cannot create its index."""
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
        """Write what is recorded so far into a new database. Raises RunError."""
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
            old = values.get("layers")
            return parse_info(values, self._layers() if old is None else complete_layers(old))
        except (msgspec.MsgspecError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path} is damaged or not a run: {error}") from error

    def _layers(self) -> tuple[LayerInfo, ...]:
        rows = self._rows(
            "SELECT path, parent, kind, role, low, high, saturated_low, saturated_high, silent_at,"
            " info FROM layer ORDER BY position"
        )
        if rows != self._layer_rows:  # parsing a thousand layers takes 8 ms
            self._layer_rows, self._parsed_layers = rows, tuple(map(_layer, rows))
        return self._parsed_layers

    def blocks(self, after: int = 0, limit: int = -1) -> list[Block]:
        """Return the blocks with id > `after`, in order; at most `limit` unless it is −1."""
        rows = self._rows(
            "SELECT id, first_step, time, epoch, steps_per_second, probe_share, steps"
            " FROM block WHERE id > ? ORDER BY id LIMIT ?",
            after,
            limit,
        )
        if not rows:
            return []
        series: dict[int, dict[str, Floats]] = {row[0]: {} for row in rows}
        lengths = {row[0]: row[6] for row in rows}
        for key, name, form, data in self._rows(
            "SELECT block, name, type, data FROM series WHERE block > ? AND block <= ?",
            after,
            rows[-1][0],
        ):
            if key in series:
                series[key][name] = _series(form, data, lengths[key])
        return [
            _block(row, series[row[0]])
            for row in rows
            if series[row[0]]  # deleted between the two queries otherwise
        ]

    def last_block(self) -> Block | None:
        """Return the newest block, or None."""
        newest = self._rows("SELECT max(id) - 1 FROM block")[0][0]
        blocks = [] if newest is None else self.blocks(after=newest)
        return blocks[0] if blocks else None

    def validations(self, after_step: int = -1) -> list[Validation]:
        """Return the validation results after `after_step`, in order."""
        rows = self._rows(
            "SELECT step, epoch, name, value FROM validation WHERE step > ? ORDER BY id",
            after_step,
        )
        return [
            Validation(step, epoch, {name: _number(value) for _, _, name, value in values})
            for (step, epoch), values in groupby(rows, key=lambda row: row[:2])
        ]

    def events(self, after: int = 0) -> list[tuple[int, Event]]:
        """Return the events with id > `after`, with their ids, in order."""
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
        rows = self._rows("SELECT step FROM snapshot ORDER BY abs(step - ?) LIMIT 1", step)
        return int(rows[0][0]) if rows else None

    def snapshot(self, step: int | None = None) -> Snapshot | None:
        """Return the snapshot at `step`, or the newest one; None when there is none.

        Its units are not read: see `units`.
        """
        if step is None:
            step = self.newest_snapshot_step()
        rows = self._rows("SELECT id, step, epoch FROM snapshot WHERE step = ?", step)
        return self._assemble(*rows[0]) if rows else None

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
        bins = [_histogram(row[8]).astype(np.float64) for row in rows]
        steps, mean, std, low, high, zeros = numbers[:, :6].T
        histograms = np.array(bins).reshape(-1, BINS + 2)
        return History(steps, mean, std, low, high, zeros, numbers[:, 6:], histograms)

    def units(self, layer: int, step: int) -> tuple[int, Units] | None:
        """Return what the units of a layer (from 1) did at `step`, and at which step that was.

        That is an earlier step where the units were not recorded. None if nothing is known: the
        layer has too many units, or the source does not measure them.
        """
        rows = self._rows(
            "SELECT step, mean, active, saturated, dead FROM units"
            " JOIN snapshot ON snapshot.id = units.snapshot"
            " WHERE layer = ? AND step <= ? ORDER BY step DESC LIMIT 1",
            layer,
            step,
        )
        if not rows:
            return None
        measured, mean, active, saturated, dead = rows[0]
        return measured, Units(
            np.frombuffer(mean, "<f4"),
            None if active is None else np.frombuffer(active, "<f2").astype(np.float64),
            None if saturated is None else np.frombuffer(saturated, "<f2").astype(np.float64),
            None if dead is None else np.frombuffer(dead, "?"),
        )

    def layer_traces(self, after_step: int = -1) -> LayerTraces:
        """Return update ratios and gradient norms of all layers at the snapshots after a step."""
        rows = self._rows(
            'SELECT step, l.layer, update_ratio, "count", mean, std FROM snapshot'
            " JOIN layer_statistics AS l ON l.snapshot = snapshot.id"
            " LEFT JOIN tensor AS t ON t.snapshot = snapshot.id AND t.layer = l.layer"
            " AND t.tensor = 'weight_grad' WHERE step > ? ORDER BY step, l.layer",
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
        by_layer = self._rows(
            f"SELECT layer, {', '.join(PER_LAYER)} FROM layer_statistics WHERE snapshot = ?"
            " ORDER BY layer",
            key,
        )
        rows = self._rows(
            f"SELECT layer, tensor, {QUOTED_FIELDS}, low, high, histogram"
            " FROM tensor WHERE snapshot = ?",
            key,
        )
        if not by_layer or not rows:  # thinned out between the queries
            return None
        layers, tensors = by_layer[-1][0], _in_order({row[1] for row in rows})
        statistics = np.full((layers, len(tensors), len(FIELDS)), np.nan)
        histograms = np.zeros((layers, len(tensors), BINS + 2), np.int64)
        ranges = np.full((layers, len(tensors), 2), np.nan)
        numbers = np.full((len(PER_LAYER), layers), np.nan)
        for layer, *values in by_layer:
            numbers[:, layer - 1] = [_number(value) for value in values]
        # In one go: a network of a thousand layers has 8,000 rows, which took 90 ms one by one.
        end = 2 + len(FIELDS)
        place = {name: k for k, name in enumerate(tensors)}
        at = np.array([row[0] - 1 for row in rows]), np.array([place[row[1]] for row in rows])
        table = np.array([row[2 : end + 2] for row in rows], np.float64)  # NULL becomes NaN
        statistics[at], ranges[at] = table[:, : len(FIELDS)], table[:, len(FIELDS) :]
        histograms[at] = _histograms([row[end + 2] for row in rows])
        outputs = self._rows("SELECT count(*) FROM layer WHERE role = 'output'")[0][0]
        named = dict(zip(PER_LAYER, numbers, strict=True))
        return Snapshot(
            step,
            epoch,
            statistics,
            histograms,
            ranges,
            tensors=tensors,
            units=(),
            outputs=outputs or 1,
            **named,
        )


def _series(form: str, data: bytes, steps: int) -> Floats:
    """Return a series as float64; a constant is stored as one value."""
    values = np.frombuffer(data, "<f8") if form == "f8" else np.frombuffer(data, f"<{form}")
    if len(values) != steps:
        return np.full(steps, values[0], np.float64)
    return values.astype(np.float64, copy=False)


def _block(row: Sequence[Any], series: dict[str, Floats]) -> Block:
    key, first_step, time, epoch, speed, share = row[:6]
    return Block(key, first_step, time, epoch, _number(speed), _number(share), series)


def _number(value: float | None) -> float:
    """Return a column's value; SQLite stores NaN as NULL."""
    return float("nan") if value is None else value


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of tensors: those that the engine measures in its order, then the others."""
    others = sorted(set(names) - set(TENSORS))
    return (*(name for name in TENSORS if name in names), *others)


def _histogram(data: bytes) -> npt.NDArray[np.integer[Any]]:
    return _histogram_type(data, len(data))


def _histogram_type(data: bytes, size: int) -> npt.NDArray[np.integer[Any]]:
    """Return the counts in `data`; a single histogram has `size` bytes."""
    return np.frombuffer(data, "<u4" if size == 4 * (BINS + 2) else "<i8")


def _histograms(data: Sequence[bytes]) -> npt.NDArray[np.integer[Any]]:
    """Return histograms as an array (rows, 1 + BINS + 1); usually all have the same type."""
    if len({len(one) for one in data}) == 1:
        return _histogram_type(b"".join(data), len(data[0])).reshape(len(data), -1)
    return np.array([_histogram(one) for one in data])


def _layer(row: Sequence[Any]) -> LayerInfo:
    path, parent, kind, role, low, high, saturated_low, saturated_high, silent_at, info = row
    saturated = None if saturated_low is None else (saturated_low, saturated_high)
    return parse_layer(
        msgspec.json.decode(info)
        | {
            "path": path,
            "parent": parent,
            "kind": kind,
            "role": role,
            "bounds": (low, high),
            "saturated": saturated,
            "silent_at": silent_at,
        }
    )
