"""What theory predicts for single layers, given the inputs that they get. Knows no Textual."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.network.signal_propagation import expected
from engine.statistics.frames import LayerInfo
from tuilab.viewer.model.layer_table import Table

LINEAR: Final = frozenset(("linear", "conv1d", "conv2d", "conv3d"))
"""Kinds of layers, in lower case, that theory covers: each unit is a weighted sum of inputs."""


def layer_theory(table: Table, layer: int) -> tuple[float, float]:
    """Return the factors of the spread, forward and backward, of a layer from 0.

    They follow from its first weights, its non-linearity, and the mean and std of its input. NaN
    where one of these is not known.
    """
    info = table.layers[layer]
    if not is_covered(info):
        return math.nan, math.nan
    mean, std = (float(table.snapshot.field("input", name)[layer]) for name in ("mean", "std"))
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        return math.nan, math.nan
    alone = replace(info, kind="linear", role="hidden")
    output = replace(alone, role="output")
    theory = expected([alone, output], _rounded(std), _rounded(mean))
    if theory.reason or not theory.passages:
        return math.nan, math.nan
    [passage] = theory.passages
    assert info.first is not None
    return passage.forward, info.first.std * math.sqrt(info.first.fan_out) * passage.slope


def is_covered(info: LayerInfo) -> bool:
    """Return whether theory covers a layer: its kind, its first weights, no normalisation."""
    return info.kind.lower() in LINEAR and info.first is not None and not info.normalization


def covered(layers: Sequence[LayerInfo]) -> int:
    """Return how many layers theory covers."""
    return sum(map(is_covered, layers))


def _rounded(value: float) -> float:
    """Return a value with three digits: expectations are cached by it."""
    return float(f"{value:.3g}")
