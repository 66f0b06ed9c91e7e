"""Preprocessing steps: fitted on the training split, then applied to every split alike.

Lecture 6, "data preprocessing". A step is fitted to a few named arrays, its statistics; what it
does to an input follows from them alone, so that they can be saved and applied elsewhere.
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

from engine.errors import ConfigError, DataError, UnknownNameError, require
from engine.registry import Registry

Table = npt.NDArray[Any]  # (examples, features), floating
Pixels = tuple[int, int, int]  # (channels, height, width) of a flattened image
Statistics = Mapping[str, npt.NDArray[Any]]
preprocessors: Registry["Preprocessor"] = Registry("preprocessing step")


@dataclass(frozen=True)
class Preprocessor:
    """A frozen description of a step."""

    keeps_pixels: ClassVar[bool] = True  # whether a feature stays the pixel that it was

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        """Return the statistics of `train`; `pixels` where it is images. Raises ConfigError."""
        raise NotImplementedError

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        """Return `x` as the step leaves it, of the same dtype."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fitted:
    """A step with the statistics of a training split: the map to apply to every split."""

    name: str  # under which the step is registered
    statistics: Statistics

    def __call__(self, x: Table) -> Table:
        return preprocessors[self.name].apply(x, self.statistics)


def fit(step: Preprocessor, train: Table, pixels: Pixels | None = None) -> Fitted:
    """Fit a step to the training split."""
    return Fitted(preprocessors.name_of(step), step.fit(train, pixels))


@preprocessors.register("zero_mean")
@dataclass(frozen=True)
class ZeroMean(Preprocessor):
    """x − mean of each feature."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        return {"mean": train.mean(axis=0, dtype=np.float64).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        return np.subtract(x, statistics["mean"], dtype=x.dtype)


@preprocessors.register("mean_image")
@dataclass(frozen=True)
class MeanImage(ZeroMean):
    """x − the mean image: `zero_mean` by the name that the lecture has for images (AlexNet)."""


@preprocessors.register("normalize")
@dataclass(frozen=True)
class Normalize(Preprocessor):
    """x / std of each feature, after the mean is taken out by `zero_mean`; constant ones stay."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        return {"std": _or_one(train.std(axis=0, dtype=np.float64)).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        return np.divide(x, statistics["std"], dtype=x.dtype)


@preprocessors.register("scale")
@dataclass(frozen=True)
class Scale(Preprocessor):
    """x · factor: for example 1/255 for bytes."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        require(np.isfinite(self.factor) and self.factor != 0, "factor", "must be finite, not 0")

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        return {"factor": np.array(self.factor, np.float64)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        return np.multiply(x, float(statistics["factor"]), dtype=x.dtype)


@preprocessors.register("per_channel_mean")
@dataclass(frozen=True)
class PerChannelMean(Preprocessor):
    """x − mean of its channel over all examples and places (VGGNet): three numbers for colour."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        channels = _channels(train, _need(pixels, "per_channel_mean"))
        return {"mean": channels.mean(axis=(0, 2), dtype=np.float64).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        mean = statistics["mean"]
        shifted: Table = x.reshape(len(x), len(mean), -1) - mean[:, None].astype(x.dtype)
        return shifted.reshape(x.shape)


@preprocessors.register("per_channel_normalize")
@dataclass(frozen=True)
class PerChannelNormalize(Preprocessor):
    """x / std of its channel, after the mean is taken out by `per_channel_mean` (ResNet)."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        channels = _channels(train, _need(pixels, "per_channel_normalize"))
        std = [channels[:, c].std(dtype=np.float64) for c in range(channels.shape[1])]
        return {"std": _or_one(np.array(std)).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        std = statistics["std"]
        scaled: Table = x.reshape(len(x), len(std), -1) / std[:, None].astype(x.dtype)
        return scaled.reshape(x.shape)


def _or_one(std: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(std > 0, std, 1.0)


def _channels(x: Table, pixels: Pixels) -> npt.NDArray[Any]:
    return x.reshape(len(x), pixels[0], -1)


def _need(pixels: Pixels | None, name: str) -> Pixels:
    if pixels is None:
        raise ConfigError(
            f"'{name}' needs images; this source has none, or an earlier step has mixed the pixels"
        )
    return pixels


def save(path: Path, steps: Sequence[Fitted]) -> None:
    """Write fitted steps as .npz, each array under "place.step.name": "0.zero_mean.mean".

    The file is written whole or not at all. Raises DataError.
    """
    arrays = {
        f"{place}.{step.name}.{key}": array
        for place, step in enumerate(steps)
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
    found: dict[int, dict[str, npt.NDArray[Any]]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for entry in archive.files:
                place, name, key = entry.split(".")
                _ = preprocessors[name]
                found.setdefault(int(place), {})[key] = archive[entry]
                steps[int(place)] = Fitted(name, found[int(place)])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (BadZipFile, EOFError, TypeError, UnknownNameError, ValueError, zlib.error) as error:
        raise DataError(f"{path} holds no preprocessing, or is damaged: {error}") from error
    return tuple(steps[place] for place in sorted(steps))
