"""One document with everything but the histograms; not finite numbers as "nan", "inf", "-inf"."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from engine.statistics.frames import FIELDS, PER_LAYER, TENSORS, Snapshot
from tuilab.claims.metrics import Record
from tuilab.claims.summary import to_json
from tuilab.record import RunReader


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write the document of a run to the file `to`."""
    record = Record(reader)
    rates = [rate for block in reader.blocks() for rate in block.learning_rate.tolist()]
    steps = record.snapshot_steps
    series = {"loss": record.loss, "data_loss": record.data_loss, "accuracy": record.accuracy}
    document = {
        "run": msgspec.to_builtins(reader.info()),
        "steps": {name: each.tolist() for name, each in series.items()} | {"learning_rate": rates},
        "validation": [dataclasses.asdict(v) for v in record.validations],
        "events": [dataclasses.asdict(event) for _, event in reader.events()],
        "snapshots": [_snapshot(found) for found in map(reader.snapshot, steps) if found],
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
                for at, tensor in enumerate(TENSORS)
            },
        }
        for layer in range(len(snapshot.statistics))
    ]
    gain = {"forward": snapshot.gain_forward, "backward": snapshot.gain_backward}
    return {"step": snapshot.step, "epoch": snapshot.epoch, "gain": gain, "layers": layers}
