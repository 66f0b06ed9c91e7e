"""Preprocessing: steps fitted on the training split, then applied to every split alike.

A file here may register further steps; it is discovered when the registry is first read.
"""

from engine.data.preprocessing.base import (
    Fitted,
    Pixels,
    Preprocessor,
    Statistics,
    Table,
    fit,
    load,
    preprocessors,
    save,
)
from engine.data.preprocessing.decorrelation import PCA, Whiten
from engine.data.preprocessing.scaling import (
    MeanImage,
    Normalize,
    PerChannelMean,
    PerChannelNormalize,
    Scale,
    ZeroMean,
)

__all__ = [
    "PCA",
    "Fitted",
    "MeanImage",
    "Normalize",
    "PerChannelMean",
    "PerChannelNormalize",
    "Pixels",
    "Preprocessor",
    "Scale",
    "Statistics",
    "Table",
    "Whiten",
    "ZeroMean",
    "fit",
    "load",
    "preprocessors",
    "save",
]
