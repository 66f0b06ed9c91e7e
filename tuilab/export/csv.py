"""Four tables with a header each: steps, validation, tensors, events."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine.statistics.frames import FIELDS, PER_LAYER, TENSORS
from tuilab.record import RunReader

STEPS = ("step", "loss", "data_loss", "accuracy", "learning_rate")


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write the tables of a run into the folder `to`."""
    return [
        _table(to / "steps.csv", STEPS, _steps(reader)),
        _table(to / "validation.csv", ("step", "epoch", "loss", "accuracy"), _validation(reader)),
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


def _steps(reader: RunReader) -> Iterable[Sequence[object]]:
    for block in reader.blocks():
        numbers = range(block.first_step, block.next_step)
        series = (block.loss, block.data_loss, block.accuracy, block.learning_rate)
        yield from zip(numbers, *(np.asarray(each).tolist() for each in series), strict=True)


def _validation(reader: RunReader) -> Iterable[Sequence[object]]:
    return ((v.step, v.epoch, v.loss, v.accuracy) for v in reader.validations())


def _tensors(reader: RunReader) -> Iterable[Sequence[object]]:
    names = [layer.name for layer in reader.info().layers]
    for step in reader.snapshot_steps():
        if (snapshot := reader.snapshot(step)) is None:  # thinned out meanwhile
            continue
        for layer in range(len(snapshot.statistics)):
            for at, tensor in enumerate(TENSORS):
                fields = snapshot.statistics[layer, at].tolist()
                of_layer = [float(getattr(snapshot, field)[layer]) for field in PER_LAYER]
                place = [step, snapshot.epoch, layer + 1, names[layer], tensor]
                yield [*place, *fields, *of_layer]


def _events(reader: RunReader) -> Iterable[Sequence[object]]:
    for _, event in reader.events():
        yield event.step, event.time, event.kind, json.dumps(event.detail)
