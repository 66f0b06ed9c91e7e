"""IDX files, the format of MNIST (LeCun, Cortes and Burges), and the sources that come in it.

Two zero bytes, a byte for the type, a byte for the number of axes, the length of each axis as four
bytes, big-endian; then the values. These data sets only have type 8, unsigned bytes.
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from engine.data.dataset import Examples, Loaded, Source, sources
from engine.data.sources.files import not_here
from engine.errors import DataError, require

SIDE: Final = 28  # pixels
TRAIN, TEST = "train", "t10k"  # how the names of the files begin


@dataclass(frozen=True)
class IdxImages(Source):
    """Grey images of 28 × 28 pixels with values 0 … 255, flattened to 784; 10 classes.

    The training examples are `train-*`, the test examples `t10k-*` if present; plain files or .gz,
    in the data folder or its subfolder with the source's name. `limit` is the number of training
    images to take (0: all).
    """

    names: ClassVar[tuple[str, ...]]
    limit: int = 0  # training images to take; 0: all

    def __post_init__(self) -> None:
        require(self.limit >= 0, "limit", f"must not be negative, is {self.limit}")

    def is_here(self, directory: Path | None) -> bool:
        return self._folder(directory) is not None

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        name = sources.name_of(self)
        folder = self._folder(directory)
        if folder is None:
            raise not_here(name, f"{name}/{_name(TRAIN, 'images')}.gz", directory)
        train = _read_split(folder, TRAIN)
        limit = self.limit or len(train)
        train = Examples(train.x[:limit], train.y[:limit])
        here = any(_find(folder, _name(TEST, part)) for part in ("images", "labels"))
        test = _read_split(folder, TEST) if here else None
        return Loaded(f"{name} {len(train)}×{SIDE**2}", self.names, train, test, (1, SIDE, SIDE))

    def _folder(self, directory: Path | None) -> Path | None:
        if directory is None:
            return None
        for folder in (directory / sources.name_of(self), directory):
            if _find(folder, _name(TRAIN, "images")):
                return folder
        return None


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the bytes of an IDX file, plain or .gz, in their shape. Raises DataError."""
    content = _content(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise DataError(
            f"{path} begins with the bytes {content[:4].hex(' ') or '(none)'}, expected 00 00 08 "
            "(unsigned bytes) and a number of axes: it is not an IDX file of images or labels"
        )
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    size = start + math.prod(shape)
    if len(content) < start or len(content) != size:
        raise DataError(
            f"{path} has {len(content)} bytes, expected {size} for its header of {start} bytes and "
            f"{' × '.join(map(str, shape))} values: it is truncated or damaged; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or not a gzip file ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _read_split(folder: Path, split: str) -> Examples:
    """Return images (examples, 784) and their labels. Raises DataError if they do not match."""
    image_file, images = _read_part(folder, split, "images", 3)
    label_file, labels = _read_part(folder, split, "labels", 1)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(
            f"{image_file} has {' × '.join(map(str, images.shape))} pixels, "
            f"expected any number of images of {SIDE} × {SIDE}"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{image_file} has {len(images)} images and {label_file} {len(labels)} labels, "
            "expected the same number: they do not belong together"
        )
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise DataError(
            f"{label_file}: label {first} is {labels[first]}, allowed are 0 … 9: it is damaged"
        )
    return Examples(images.reshape(len(images), -1), labels.astype(np.int64))


def _read_part(folder: Path, split: str, part: str, axes: int) -> tuple[Path, npt.NDArray[Any]]:
    path = _find(folder, _name(split, part))
    if path is None:
        raise DataError(f"no {_name(split, part)} in {folder}, plain or .gz")
    values = read_idx(path)
    if values.ndim != axes:
        raise DataError(f"{path} has {values.ndim} axes, expected {axes} of {part}")
    return path, values


def _name(split: str, part: str) -> str:
    return f"{split}-{part}-idx{3 if part == 'images' else 1}-ubyte"


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None
