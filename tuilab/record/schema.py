"""The tables of `run.db`, and what is read back from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.statistics.frames import FIELDS, PER_LAYER, Floats, NamedSeries

FORMAT: Final = 5

SCHEMA: Final = f"""
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE layer (
    position INTEGER PRIMARY KEY, path TEXT NOT NULL, parent TEXT NOT NULL, kind TEXT NOT NULL,
    role TEXT NOT NULL, low REAL, high REAL, saturated_low REAL, saturated_high REAL,
    silent_at REAL, info TEXT NOT NULL);
CREATE TABLE block (
    id INTEGER PRIMARY KEY, first_step INTEGER NOT NULL, steps INTEGER NOT NULL,
    time REAL NOT NULL, epoch REAL NOT NULL, steps_per_second REAL, probe_share REAL);
CREATE TABLE series (
    block INTEGER NOT NULL REFERENCES block(id) ON DELETE CASCADE,
    name TEXT NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (block, name)) WITHOUT ROWID;
CREATE TABLE validation (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, epoch REAL NOT NULL,
    name TEXT NOT NULL, value REAL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL UNIQUE, epoch REAL NOT NULL,
    kept INTEGER NOT NULL);
CREATE TABLE layer_statistics (
    snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE, layer INTEGER NOT NULL,
    {", ".join(f"{name} REAL" for name in PER_LAYER)},
    PRIMARY KEY (snapshot, layer)) WITHOUT ROWID;
CREATE TABLE tensor (
    snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
    layer INTEGER NOT NULL, tensor TEXT NOT NULL,
    {", ".join(f'"{name}" REAL' for name in FIELDS)},
    low REAL, high REAL, histogram BLOB NOT NULL,
    PRIMARY KEY (snapshot, layer, tensor)) WITHOUT ROWID;
CREATE TABLE units (
    snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE, layer INTEGER NOT NULL,
    mean BLOB NOT NULL, active BLOB, saturated BLOB, dead BLOB,
    PRIMARY KEY (snapshot, layer)) WITHOUT ROWID;
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, file TEXT NOT NULL, last_event INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
"""


@dataclass(frozen=True, slots=True)
class Block(NamedSeries):
    """The per-step series of one frame, as read back."""

    id: int
    first_step: int
    time: float
    epoch: float
    steps_per_second: float
    probe_share: float
    series: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class History:
    """One tensor of one layer over the recorded snapshots, oldest first."""

    steps: Floats  # (n,)
    mean: Floats  # (n,)
    std: Floats  # (n,)
    min: Floats  # (n,)
    max: Floats  # (n,)
    zero_fraction: Floats  # (n,)
    ranges: Floats  # (n, 2): of the bins
    histograms: Floats  # (n, 1 + BINS + 1)


@dataclass(frozen=True, slots=True)
class LayerTraces:
    """Two numbers of each layer over recorded snapshots, oldest first."""

    steps: Floats  # (n,)
    update_ratio: Floats  # (layers, n): ‖ΔW‖ / ‖W‖
    gradient_norm: Floats  # (layers, n): ‖dL/dW‖
