"""Databases of formats 3 and 4, presented in the shape of the present one, and migrated to it.

Views with the names of the present tables hide the tables below them, so that a reader has one set
of queries. Before format 5 the layers were a value of `run`, loss and accuracy were columns of
`block` and `validation`, and the numbers of a layer were columns of each of its tensors. Format 3
had no units.
"""

import sqlite3
from collections.abc import Mapping
from math import inf
from typing import Any, Final

import msgspec

from engine.statistics.frames import FIELDS, PER_LAYER, LayerInfo
from tuilab.record.run_info import parse_layer
from tuilab.record.schema import SCHEMA

WITHOUT_UNITS: Final = 3
OLD_FORMATS: Final = (WITHOUT_UNITS, 4)

_FIELDS: Final = ", ".join(f'"{name}"' for name in FIELDS)
VIEWS: Final = {
    "run": "SELECT key, value FROM {old}run",
    "layer": """SELECT 0 AS position, '' AS path, '' AS parent, '' AS kind, '' AS role, 0 AS low,
        0 AS high, 0 AS saturated_low, 0 AS saturated_high, 0 AS silent_at, '' AS info WHERE 0""",
    "block": """SELECT id, first_step, length(loss) / 8 AS steps, time, epoch, steps_per_second,
        probe_share FROM {old}block""",
    "series": """SELECT id AS block, 'loss' AS name, 'f8' AS type, loss AS data FROM {old}block
        UNION ALL SELECT id, 'data_loss', 'f8', data_loss FROM {old}block
        WHERE data_loss IS NOT NULL
        UNION ALL SELECT id, 'accuracy', 'f4', accuracy FROM {old}block
        UNION ALL SELECT id, 'learning_rate', 'f8', learning_rate FROM {old}block""",
    "validation": """SELECT 2 * id AS id, step, epoch, 'loss' AS name, loss AS value
        FROM {old}validation
        UNION ALL SELECT 2 * id + 1, step, epoch, 'accuracy', accuracy FROM {old}validation""",
    "event": "SELECT id, step, time, kind, detail FROM {old}event",
    "snapshot": "SELECT id, step, epoch, kept FROM {old}snapshot",
    "layer_statistics": f"SELECT snapshot, layer, {', '.join(PER_LAYER)}"
    " FROM {old}tensor WHERE tensor = 'weight'",
    "tensor": f"SELECT snapshot, layer, tensor, {_FIELDS}, low, high, histogram FROM {{old}}tensor",
    "units": "SELECT snapshot, layer, mean, active, saturated, dead FROM {old}units",
    "checkpoint": "SELECT id, step, file, last_event FROM {old}checkpoint",
}
NO_UNITS: Final = (
    "SELECT 0 AS snapshot, 0 AS layer, x'' AS mean, NULL AS active, NULL AS saturated,"
    " NULL AS dead WHERE 0"
)

ACTIVATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "relu": {"bounds": (0.0, None), "silent_at": 0.0},
    "elu": {"bounds": (-1.0, None), "saturated": (-0.97, inf)},
    "selu": {"bounds": (-1.7580993408473766, None), "saturated": (-1.7280993408473766, inf)},
    "tanh": {"bounds": (-1.0, 1.0), "saturated": (-0.97, 0.97)},
    "sigmoid": {"bounds": (0.0, 1.0), "saturated": (0.03, 0.97)},
    "softplus": {"bounds": (0.0, None), "saturated": (0.03, inf)},
    "silu": {"bounds": (-0.2784645427610738, None)},
    "gelu": {"bounds": (-0.1700408, None)},
}
"""What format 5 records of a layer's non-linearity, as it was when formats 3 and 4 were written."""


def present(db: sqlite3.Connection, version: int) -> None:
    """Create the views for the life of a connection; the file stays as it is."""
    db.execute("PRAGMA temp_store = MEMORY")
    for name, query in _queries(version, "main.").items():
        db.execute(f"CREATE TEMP VIEW {name} AS {query}")


def _queries(version: int, old: str) -> dict[str, str]:
    views = VIEWS | ({"units": NO_UNITS} if version == WITHOUT_UNITS else {})
    return {name: query.replace("{old}", old) for name, query in views.items()}


def complete_layers(values: list[dict[str, Any]]) -> tuple[LayerInfo, ...]:
    """Return the layers of an old run, with what was not recorded of them. Raises MsgspecError."""
    return tuple(parse_layer(_completed(layer, len(values))) for layer in values)


def _completed(layer: Mapping[str, Any], count: int) -> dict[str, Any]:
    index, alpha = layer.get("index", 0), layer.get("settings", {}).get("alpha", 1.0)
    known = dict(ACTIVATIONS.get(layer.get("activation", ""), {}))
    if layer.get("activation") == "elu":
        known = {"bounds": (-alpha, None), "saturated": (min(0.03 - alpha, 0.0), inf)}
    role = "output" if index == count else "hidden"
    return {"path": str(index), "role": role} | known | dict(layer)


def migrate(db: sqlite3.Connection, version: int) -> tuple[LayerInfo, ...]:
    """Bring a database to the present format, in the transaction that is open.

    Returns the layers, for the caller to write. Raises sqlite3.Error, MsgspecError.
    """
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in tables:
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    for name, query in _queries(version, "main.old_").items():
        db.execute(f"INSERT INTO {name} {query}")
    for name in tables:
        db.execute(f"DROP TABLE old_{name}")
    rows = db.execute("DELETE FROM run WHERE key = 'layers' RETURNING value").fetchall()
    return complete_layers(msgspec.json.decode(rows[0][0])) if rows else ()
