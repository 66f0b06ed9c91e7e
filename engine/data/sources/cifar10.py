"""CIFAR-10 in its official binary layout (Krizhevsky, 2009)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from engine.data.dataset import Examples, Loaded, Source, sources
from engine.data.sources.files import not_here
from engine.errors import DataError, require

PIXELS: Final = (3, 32, 32)
RECORD: Final = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes, row by row
FOLDER: Final = "cifar-10-batches-bin"
NAMES: Final = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@sources.register("cifar10")
@dataclass(frozen=True)
class Cifar10(Source):
    """Colour images of 32 × 32 pixels with values 0 … 255, flattened to 3,072; 10 classes.

    The training examples are in `data_batch_*.bin`, the test examples in `test_batch.bin`. Files
    may be short as long as they hold whole records. `limit` is the number of training images to
    take (0: all).
    """

    title: ClassVar = "CIFAR-10"
    limit: int = 0  # training images to take; 0: all

    def __post_init__(self) -> None:
        require(self.limit >= 0, "limit", f"must not be negative, is {self.limit}")

    def is_here(self, directory: Path | None) -> bool:
        return _find(directory) is not None

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        folder = _find(directory)
        if folder is None:
            raise not_here("cifar10", f"{FOLDER}/data_batch_1.bin", directory)
        batches = sorted(folder.glob("data_batch_*.bin"))
        if not batches:
            raise DataError(f"{folder} holds no data_batch_*.bin of CIFAR-10")
        parts = [read_batch(path) for path in batches]
        x = np.concatenate([part.x for part in parts])
        y = np.concatenate([part.y for part in parts])
        limit = self.limit or len(y)
        test = folder / "test_batch.bin"
        return Loaded(
            f"cifar10 {min(limit, len(y))}×{x.shape[1]}",
            NAMES,
            Examples(x[:limit].astype(np.float32), y[:limit]),
            read_batch(test) if test.is_file() else None,
            PIXELS,
        )


def read_batch(path: Path) -> Examples:
    """Return x (records, 3072) uint8 and y (records,) of one file. Raises DataError."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    whole, rest = divmod(len(content), RECORD)
    if rest or not whole:
        raise DataError(
            f"{path} has {len(content)} bytes, which is {whole} records of {RECORD} bytes and "
            f"{rest} more: it is truncated or not a CIFAR-10 batch; fetch it again"
        )
    records = content.reshape(whole, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise DataError(
            f"{path}: record {first} has label {labels[first]}, allowed are 0 … 9: "
            "it is damaged or not a CIFAR-10 batch"
        )
    return Examples(records[:, 1:], labels)


def _find(directory: Path | None) -> Path | None:
    for folder in () if directory is None else (directory / FOLDER, directory):
        if (folder / "data_batch_1.bin").is_file():
            return folder
    return None
