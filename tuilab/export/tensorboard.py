"""TensorBoard's event files: scalars of every step, histograms of every snapshot."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.statistics.frames import BINS, FIELDS, Snapshot
from tuilab.claims.metrics import Record
from tuilab.errors import RunError, missing_package
from tuilab.record import RunReader


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write an event file into the folder `to`. Raises RunError without the extra."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        needs = missing_package("the tensorboard format needs tensorboardX", "tensorboardX")
        raise RunError(needs) from error
    before = set(to.iterdir())
    with SummaryWriter(str(to)) as writer:
        began = reader.info().created
        _scalars(writer, reader, began)
        names = [layer.name for layer in reader.info().layers]
        for step in reader.snapshot_steps():
            if (snapshot := reader.snapshot(step)) is not None:
                _histograms(writer, snapshot, names, began)
    return sorted(set(to.iterdir()) - before)


TAGS: Final = {"loss": "loss/train", "data_loss": "loss/data", "accuracy": "accuracy/train"}
"""Names of the series that TensorBoard shows in one group with those of the validation split."""


def _scalars(writer: Any, reader: RunReader, began: float) -> None:
    names = Record(reader).series_names
    for block in reader.blocks():
        for name in names:
            for offset, value in enumerate(block.values(name).tolist()):
                step = block.first_step + offset
                writer.add_scalar(TAGS.get(name, name), value, step, began + block.time)
    for validation in reader.validations():
        for name, value in validation.values.items():
            writer.add_scalar(f"{name}/validation", value, validation.step, began)


def _histograms(writer: Any, snapshot: Snapshot, names: list[str], began: float) -> None:
    gains = {"forward": snapshot.gain_forward, "backward": snapshot.gain_backward}
    for direction, value in gains.items():
        writer.add_scalar(f"gain/{direction}", value, snapshot.step, began)
    for layer in range(len(snapshot)):
        place = f"layer{layer + 1:02}_{names[layer]}"
        ratio = float(snapshot.update_ratio[layer])
        writer.add_scalar(f"{place}/update_ratio", ratio, snapshot.step, began)
        for at, tensor in enumerate(snapshot.tensors):
            row = dict(zip(FIELDS, snapshot.statistics[layer, at].tolist(), strict=True))
            writer.add_scalar(f"{place}/{tensor}_std", row["std"], snapshot.step, began)
            counts = snapshot.histograms[layer, at]
            if not counts.any() or row["nonfinite"]:
                continue
            low, high = snapshot.ranges[layer, at].tolist()
            edges = [*np.linspace(low, high, BINS + 1).tolist(), max(row["max"], high)]
            total = float(counts.sum())  # of a sample, where the tensor is large
            writer.add_histogram_raw(
                f"{place}/{tensor}",
                min=row["min"],
                max=row["max"],
                num=total,
                sum=row["mean"] * total,
                sum_squares=(row["mean"] ** 2 + row["std"] ** 2) * total,
                bucket_limits=edges,
                bucket_counts=counts.tolist(),
                global_step=snapshot.step,
                walltime=began,
            )
