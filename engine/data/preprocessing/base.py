"""What a preprocessing step is, and how fitted steps are saved.

Fitting a step to the training split gives its statistics, a few named arrays. What it does to an
input depends on nothing else, so that they can be saved and applied elsewhere.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from engine.errors import DataError, UnknownNameError
from engine.registry import Registry

Table = npt.NDArray[Any]  # (examples, features), floating
Pixels = tuple[int, int, int]  # (channels, height, width) of a flattened image
Statistics = Mapping[str, npt.NDArray[Any]]
preprocessors: Registry["Preprocessor"] = Registry(
    "preprocessing step", "engine.data.preprocessing"
)


@dataclass(frozen=True)
class Preprocessor:
    """A frozen description of a step."""

    keeps_pixels: ClassVar[bool] = True  # whether each feature remains the same pixel

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        """Return the statistics of `train`; `pixels` for images. Raises ConfigError."""
        raise NotImplementedError

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        """Return `x` (examples, features) transformed, with the same dtype."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fitted:
    """A step with the statistics of a training split, to apply to every split."""

    name: str  # under which the step is registered
    statistics: Statistics

    def __call__(self, x: Table) -> Table:
        return preprocessors[self.name].apply(x, self.statistics)


def fit(step: Preprocessor, train: Table, pixels: Pixels | None = None) -> Fitted:
    """Return `step` fitted to the training split. Raises ConfigError."""
    return Fitted(preprocessors.name_of(step), step.fit(train, pixels))


def save(path: Path, steps: Sequence[Fitted]) -> None:
    """Write fitted steps as .npz, an array per key "position.step.name": "0.zero_mean.mean".

    The file is written completely or not at all. Raises DataError.
    """
    arrays = {
        f"{position}.{step.name}.{key}": array
        for position, step in enumerate(steps)
        for key, array in step.statistics.items()
    }
    scratch = path.with_name(f".{path.name}.part")
    try:
        with scratch.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path) -> tuple[Fitted, ...]:
    """Return the steps that `save` wrote. Raises DataError."""
    steps: dict[int, Fitted] = {}
    arrays: dict[int, dict[str, npt.NDArray[Any]]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for entry in archive.files:
                position, name, key = entry.split(".")
                _ = preprocessors[name]
                arrays.setdefault(int(position), {})[key] = archive[entry]
                steps[int(position)] = Fitted(name, arrays[int(position)])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (BadZipFile, EOFError, TypeError, UnknownNameError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path} is not a file of preprocessing steps, or is damaged: {error}"
        ) from error
    return tuple(steps[position] for position in sorted(steps))
