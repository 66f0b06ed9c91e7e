"""Statistics of arrays: arrays, names and ranges in, plain numbers and frames out.

Nothing here knows a network, a layer or a back-end, and NumPy is the only import, so the engine's
probes and the watchers of other training programs compute the same numbers with the same code:

    from engine.statistics import measure_tensor, measure_units

    result = measure_tensor(np.tanh(x), bounds=(-1, 1), saturation=(-0.97, 0.97))
    result["std"], result.histogram, result.range

What ties a network to its statistics is `engine.training.probes`.
"""

from engine.statistics.dead_units import DeadUnitTracker
from engine.statistics.histogram import tensor_histogram
from engine.statistics.moments import tensor_moments
from engine.statistics.symmetry import asymmetry, one_signed
from engine.statistics.tensor_statistics import (
    StatisticsTable,
    TensorSource,
    TensorStatistics,
    measure_tensor,
)
from engine.statistics.units import UnitProbe, measure_units

__all__ = [
    "DeadUnitTracker",
    "StatisticsTable",
    "TensorSource",
    "TensorStatistics",
    "UnitProbe",
    "asymmetry",
    "measure_tensor",
    "measure_units",
    "one_signed",
    "tensor_histogram",
    "tensor_moments",
]
