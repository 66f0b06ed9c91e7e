"""Four tables with a header each: steps, validation, tensors, events.

The columns of steps and validation are the series and the values that the run has.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.statistics.frames import FIELDS, PER_LAYER
from tuilab.claims.metrics import Record
from tuilab.record import RunReader


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write the tables of a run into the folder `to`; return their files."""
    record = Record(reader)
    measured = record.validation_names
    return [
        _table(to / "steps.csv", ("step", *record.series_names), _steps(reader, record)),
        _table(to / "validation.csv", ("step", "epoch", *measured), _validation(record)),
        _table(
            to / "tensors.csv",
            ("step", "epoch", "layer", "name", "tensor", *FIELDS, *PER_LAYER),
            _tensors(reader),
        ),
        _table(to / "events.csv", ("step", "seconds", "kind", "detail"), _events(reader)),
    ]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def _steps(reader: RunReader, record: Record) -> Iterable[Sequence[object]]:
    for block in reader.blocks():
        numbers = range(block.first_step, block.next_step)
        columns = [block.values(name).tolist() for name in record.series_names]
        yield from zip(numbers, *columns, strict=True)


def _validation(record: Record) -> Iterable[Sequence[object]]:
    for validation in record.validations:
        values = [validation.values.get(name, "") for name in record.validation_names]
        yield validation.step, validation.epoch, *values


def _tensors(reader: RunReader) -> Iterable[Sequence[object]]:
    names = [layer.name for layer in reader.info().layers]
    for step in reader.snapshot_steps():
        if (snapshot := reader.snapshot(step)) is None:  # thinned out meanwhile
            continue
        for layer in range(len(snapshot)):
            for at, tensor in enumerate(snapshot.tensors):
                fields = snapshot.statistics[layer, at].tolist()
                of_layer = [float(getattr(snapshot, field)[layer]) for field in PER_LAYER]
                place = [step, snapshot.epoch, layer + 1, names[layer], tensor]
                yield [*place, *fields, *of_layer]


def _events(reader: RunReader) -> Iterable[Sequence[object]]:
    for _, event in reader.events():
        yield event.step, event.time, event.kind, json.dumps(event.detail)
