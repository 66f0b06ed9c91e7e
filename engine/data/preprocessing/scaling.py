"""Shifting and scaling features, pixels or channels (lecture 6, "data preprocessing")."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.preprocessing.base import Pixels, Preprocessor, Statistics, Table, preprocessors
from engine.errors import ConfigError, require


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
    """x − the mean image: `zero_mean` by the lecture's name for images (AlexNet)."""


@preprocessors.register("normalize")
@dataclass(frozen=True)
class Normalize(Preprocessor):
    """x / std of each feature, to use after `zero_mean`; constant features are left alone."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        return {"std": _or_one(train.std(axis=0, dtype=np.float64)).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        return np.divide(x, statistics["std"], dtype=x.dtype)


@preprocessors.register("scale")
@dataclass(frozen=True)
class Scale(Preprocessor):
    """x · factor: for example 1/255 for bytes."""

    factor: float = 1.0  # of every input

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
    """x − mean of its channel over all examples and pixels (VGGNet): three numbers for colour."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        channels = _channels(train, _images_of(pixels, "per_channel_mean"))
        return {"mean": channels.mean(axis=(0, 2), dtype=np.float64).astype(train.dtype)}

    @staticmethod
    def apply(x: Table, statistics: Statistics) -> Table:
        mean = statistics["mean"]
        shifted: Table = x.reshape(len(x), len(mean), -1) - mean[:, None].astype(x.dtype)
        return shifted.reshape(x.shape)


@preprocessors.register("per_channel_normalize")
@dataclass(frozen=True)
class PerChannelNormalize(Preprocessor):
    """x / std of its channel, to use after `per_channel_mean` (ResNet)."""

    def fit(self, train: Table, pixels: Pixels | None) -> Statistics:
        channels = _channels(train, _images_of(pixels, "per_channel_normalize"))
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


def _images_of(pixels: Pixels | None, name: str) -> Pixels:
    if pixels is None:
        raise ConfigError(
            f"'{name}' needs images; this source has none, or an earlier step mixes the pixels"
        )
    return pixels
