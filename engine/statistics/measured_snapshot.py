"""A snapshot measured from plain arrays, for any training loop that has them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.statistics.frames import (
    BINS,
    FIELDS,
    TENSORS,
    LayerInfo,
    Snapshot,
    Units,
    hidden_layers,
    with_update_ratio,
)
from engine.statistics.symmetry import asymmetry
from engine.statistics.tensor_statistics import measure_tensor
from engine.statistics.units import MOST_UNITS, measure_units


def measure_snapshot(
    step: int,
    epoch: float,
    layers: Sequence[LayerInfo],
    arrays: Sequence[Mapping[str, npt.ArrayLike]],
    dead_fraction: npt.ArrayLike = np.nan,
) -> Snapshot:
    """Return the statistics of the named `arrays` of each layer, in the order of `layers`.

    Names are those of `TENSORS`, or any others; a layer may lack some of them. A "weight" has its
    units on the last axis, an "activation" is (examples, *places, units). The update ratio follows
    from "weight" and "update". `dead_fraction`, which takes an epoch to know, is a value a layer.
    """
    names = [*dict.fromkeys(name for row in arrays for name in row)]
    others = [name for name in names if name not in TENSORS]
    tensors = (*(name for name in TENSORS if name in names), *others)
    shape = len(layers), len(tensors)
    statistics = np.full((*shape, len(FIELDS)), np.nan)
    histograms = np.zeros((*shape, BINS + 2), np.int64)
    ranges = np.full((*shape, 2), np.nan)
    units: list[Units | None] = []
    unlike = np.full(len(layers), np.nan)
    for at, (layer, row) in enumerate(zip(layers, arrays, strict=True)):
        for name, values in row.items():
            place = at, tensors.index(name)
            of_output = name == "activation"
            measured = measure_tensor(
                values,
                bounds=layer.bounds if of_output else (None, None),
                saturation=layer.saturated if of_output else None,
            )
            statistics[place], histograms[place] = measured.row, measured.histogram
            ranges[place] = measured.range
        units.append(_units(layer, row))
        if "weight" in row and np.ndim(row["weight"]) > 1:
            weight = np.asarray(row["weight"])
            unlike[at] = asymmetry(weight.reshape(-1, weight.shape[-1]))
    snapshot = Snapshot(
        step,
        epoch,
        statistics,
        histograms,
        ranges,
        np.broadcast_to(np.asarray(dead_fraction, np.float64), len(layers)).copy(),
        np.full(len(layers), np.nan),
        unlike,
        np.full(len(layers), np.nan),
        units,
        tensors,
        len(layers) - hidden_layers(layers),
    )
    return with_update_ratio(snapshot)


def _units(layer: LayerInfo, row: Mapping[str, npt.ArrayLike]) -> Units | None:
    output = np.asarray(row["activation"]) if "activation" in row else np.empty(0)
    if output.ndim < 2 or output.shape[-1] > MOST_UNITS:
        return None
    return measure_units(output, floor=layer.silent_at, saturation=layer.saturated)
