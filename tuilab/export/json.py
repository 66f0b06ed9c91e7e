"""One document with everything but the histograms; not finite numbers as "nan", "inf", "-inf"."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from engine.statistics.frames import FIELDS, PER_LAYER, Snapshot
from tuilab.claims.metrics import Record
from tuilab.claims.summary import to_json
from tuilab.record import RunReader


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write the document of a run to the file `to`."""
    record = Record(reader)
    snapshots = [reader.snapshot(step) for step in record.snapshot_steps]
    document = {
        "run": msgspec.to_builtins(reader.info()),
        "steps": {name: record.per_step(name).tolist() for name in record.series_names},
        "validation": [
            {"step": validation.step, "epoch": validation.epoch, **validation.values}
            for validation in record.validations
        ],
        "events": [dataclasses.asdict(event) for _, event in reader.events()],
        "snapshots": [_snapshot(snapshot) for snapshot in snapshots if snapshot is not None],
    }
    to.write_text(to_json(document), encoding="utf-8")
    return [to]


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    layers = [
        {
            "index": layer + 1,
            **{name: float(getattr(snapshot, name)[layer]) for name in PER_LAYER},
            **{
                tensor: dict(zip(FIELDS, snapshot.statistics[layer, at].tolist(), strict=True))
                for at, tensor in enumerate(snapshot.tensors)
            },
        }
        for layer in range(len(snapshot))
    ]
    gain = {"forward": snapshot.gain_forward, "backward": snapshot.gain_backward}
    return {"step": snapshot.step, "epoch": snapshot.epoch, "gain": gain, "layers": layers}
