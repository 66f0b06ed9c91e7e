"""Arrays in NumPy's .npz files."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from engine.data.dataset import Examples, Loaded, Source, sources
from engine.data.sources.files import encode_labels, find_file
from engine.errors import DataError, UnknownNameError, require


@sources.register("npz")
@dataclass(frozen=True)
class Npz(Source):
    """The arrays named `x` and `y` of the file at `path`; pickled objects are refused.

    x is (examples, features), or images (examples, height, width) or (examples, channels, height,
    width), of numbers. y is (examples,): whole numbers or words; their classes are sorted.
    """

    path_settings: ClassVar = ("path",)
    path: str  # of the file
    x: str = "x"  # name of the array of inputs
    y: str = "y"  # name of the array of labels

    def __post_init__(self) -> None:
        require(self.x != self.y, "y", f"must not be the same array as x, is '{self.y}'")

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        path = find_file(self.path, directory)
        x, y = _arrays(path, self.x, self.y)
        _check_inputs(f"{path}: {self.x}", x)
        _check_labels(f"{path}: {self.y}", y, len(x))
        texts = [text.strip() for text in y.astype(np.str_).tolist()]
        labels, classes = encode_labels(texts, lambda row: f"{path}: {self.y}[{row}]")
        pixels = None
        if x.ndim > 2:
            channels = x.shape[1] if x.ndim == 4 else 1
            pixels = (int(channels), int(x.shape[-2]), int(x.shape[-1]))
        x = x.reshape(len(x), -1)
        name = f"{path.name} {len(x)}×{x.shape[1]}"
        return Loaded(name, classes, Examples(x, labels), pixels=pixels)


def _arrays(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array, expected an .npz file with {names}")
            with archive:
                for key, name in zip("xy", names, strict=True):
                    if name not in archive.files:
                        raise UnknownNameError(f"array of {path}", name, archive.files, key)
                return [archive[name] for name in names]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (BadZipFile, EOFError, NotImplementedError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path} is not an .npz file of numbers and words, or is damaged: {error}"
        ) from error


def _check_inputs(what: str, x: npt.NDArray[Any]) -> None:
    array = f"{what} is {x.dtype} {x.shape}"
    if x.dtype.kind not in "fiub":
        raise DataError(f"{array}, expected numbers")
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"{array}, expected (examples, features), (examples, height, width) or "
            "(examples, channels, height, width)"
        )
    if not x.size:
        raise DataError(f"{array}: it is empty")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        index = tuple(map(int, np.argwhere(~np.isfinite(x))[0]))
        raise DataError(f"{what}{list(index)} is {x[index]}, expected finite numbers")


def _check_labels(what: str, y: npt.NDArray[Any], examples: int) -> None:
    array = f"{what} is {y.dtype} {y.shape}"
    if y.dtype.kind not in "fiubUS":
        raise DataError(f"{array}, expected whole numbers or words")
    if y.shape != (examples,):
        raise DataError(f"{array}, expected a label for each of {examples} examples: ({examples},)")
