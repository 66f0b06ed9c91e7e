"""TensorBoard's event files: scalars of every step, histograms of every snapshot."""

from pathlib import Path
from typing import Any

import numpy as np

from engine.statistics.frames import BINS, FIELDS, TENSORS, Snapshot
from tuilab.errors import RunError
from tuilab.record import RunReader


def write(reader: RunReader, to: Path) -> list[Path]:
    """Write an event file into the folder `to`. Raises RunError without the extra."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise RunError(
            "the tensorboard format needs tensorboardX: in tuilab's folder, "
            "python3 -m pip install -e '.[tensorboard]'"
        ) from error
    before = set(to.iterdir())
    with SummaryWriter(str(to)) as writer:
        began = reader.info().created
        _scalars(writer, reader, began)
        names = [layer.name for layer in reader.info().layers]
        for step in reader.snapshot_steps():
            if (snapshot := reader.snapshot(step)) is not None:
                _histograms(writer, snapshot, names, began)
    return sorted(set(to.iterdir()) - before)


def _scalars(writer: Any, reader: RunReader, began: float) -> None:
    for block in reader.blocks():
        series = {
            "loss/train": block.loss,
            "loss/data": block.data_loss,
            "accuracy/train": block.accuracy,
            "learning_rate": block.learning_rate,
        }
        for name, values in series.items():
            for offset, value in enumerate(values.tolist()):
                writer.add_scalar(name, value, block.first_step + offset, began + block.time)
    for found in reader.validations():
        writer.add_scalar("loss/validation", found.loss, found.step, began)
        writer.add_scalar("accuracy/validation", found.accuracy, found.step, began)


def _histograms(writer: Any, snapshot: Snapshot, names: list[str], began: float) -> None:
    for way, value in (("forward", snapshot.gain_forward), ("backward", snapshot.gain_backward)):
        writer.add_scalar(f"gain/{way}", value, snapshot.step, began)
    for layer in range(len(snapshot.statistics)):
        place = f"layer{layer + 1:02}_{names[layer]}"
        ratio = float(snapshot.update_ratio[layer])
        writer.add_scalar(f"{place}/update_ratio", ratio, snapshot.step, began)
        for at, tensor in enumerate(TENSORS):
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
