"""What the layer table shows: one snapshot, and what is known of its run. Knows no Textual."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.statistics.frames import Floats, LayerInfo, Snapshot
from tuilab.charts import distributions as charts
from tuilab.charts import strips
from tuilab.charts.distributions import Axis
from tuilab.diagnosis.base import DEEP
from tuilab.record import RunInfo
from tuilab.viewer.model.layer_tree import is_numbered
from tuilab.viewer.model.store import RunStore
from tuilab.viewer.model.thresholds import DEFAULTS, Thresholds, thresholds_of

WIDEST: Final = 32  # layers that decide on a common axis at most: those that reach farthest


@dataclass(frozen=True)
class Table:
    """What the columns show: one snapshot, and what is known of its run."""

    snapshot: Snapshot
    layers: Sequence[LayerInfo]
    input_std: float = 0.0
    broken: int = 0  # index (from 1) of the layer where the run diverged
    thresholds: Thresholds = DEFAULTS
    brief: bool = False  # numbers are short, so that a range of them fits
    several: bool = False  # some rows stand for several layers

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        info: RunInfo,
        broken: int = 0,
        thresholds: Thresholds = DEFAULTS,
    ) -> "Table":
        """Return the table of a snapshot; layers are numbered where `info` has no names."""
        layers: Sequence[LayerInfo] = info.layers
        if len(layers) != len(snapshot.statistics):
            number = len(snapshot.statistics)
            layers = [LayerInfo(k + 1, str(k + 1), "", 0, "") for k in range(number)]
        return cls(snapshot, layers, info.input_std, broken, thresholds)

    @classmethod
    def of_store(cls, store: RunStore) -> "Table | None":
        """Return the table of what a store shows, None before the first statistics."""
        if store.snapshot is None:
            return None
        layer = store.divergence.detail.get("layer", 0) if store.divergence else 0
        broken = layer if isinstance(layer, int) else 0
        return cls.of(store.snapshot, store.info, broken, thresholds_of(store.folder))

    @property
    def hidden(self) -> int:
        """Number of hidden layers; the table has one more row, the output."""
        return len(self.layers) - 1

    @property
    def deep(self) -> bool:
        """Whether there are enough layers for a trend over depth."""
        return self.chain and self.hidden >= DEEP

    @property
    def chain(self) -> bool:
        """Whether each layer's input is the output of the layer before it.

        That is not known of layers in different modules, which may have any other order.
        """
        return len({layer.parent for layer in self.layers}) <= 1

    @property
    def is_numbered(self) -> bool:
        """Whether layers are called by their index, not by a path of modules."""
        return is_numbered(self.layers)

    def is_output(self, layer: int) -> bool:
        """Return whether a layer, from 0, is an output of the network."""
        return layer == self.hidden or self.layers[layer].role == "output"

    def measures(self, tensor: str) -> bool:
        """Return whether the snapshot has a tensor."""
        return tensor in self.snapshot.tensors

    def gain_role(self, value: float) -> str:
        """Return the role of a gain; a healthy band is known of deep chains only."""
        if self.deep or math.isnan(value):
            return self.thresholds.gain(value)
        return "error" if not self.chain and (value == 0 or math.isinf(value)) else ""

    def any_activation(self, attribute: str) -> bool:
        """Return whether a hidden layer's non-linearity can saturate, or fall silent."""
        return any(getattr(layer, attribute) is not None for layer in self.layers[:-1])

    def axis(self, tensor: str, *, log: bool = False) -> Axis:
        """Return the axis that the histograms of all layers share.

        Outputs count for it only if it is logarithmic, or if there are no hidden layers.
        """
        every = [*range(len(self.layers))]
        hidden = every if log else [k for k in every if not self.is_output(k)] or every
        deciding = self._widest(tensor, hidden)
        if log and len(deciding) < len(hidden):
            deciding = sorted({*deciding, *self._narrowest(tensor, hidden)})
        histograms = [charts.histogram(self.snapshot, k, tensor) for k in deciding]
        return strips.log_axis(histograms) if log else charts.common_axis(histograms)

    def _widest(self, tensor: str, layers: Sequence[int]) -> Sequence[int]:
        """Return all layers or, of many, those whose values reach farthest from 0."""
        if len(layers) <= WIDEST:
            return layers
        ordered = self._by_reach(tensor, layers)
        below = np.asarray(layers)[self._low(tensor)[layers] < 0]
        return sorted({*ordered[-WIDEST:].tolist(), *below[:1].tolist()})

    def _narrowest(self, tensor: str, layers: Sequence[int]) -> Sequence[int]:
        return list(self._by_reach(tensor, layers)[:WIDEST].tolist())

    def _low(self, tensor: str) -> Floats:
        if not self.measures(tensor):
            return np.full(len(self.layers), np.nan)
        return self.snapshot.ranges[:, self.snapshot.tensors.index(tensor), 0]

    def _by_reach(self, tensor: str, layers: Sequence[int]) -> Floats:
        """Return layers in order of |mean| + 3 std, without those that lack the tensor."""
        at = np.asarray(layers)
        mean, std = (self.snapshot.field(tensor, name)[at] for name in ("mean", "std"))
        reach = np.abs(mean) + 3 * std
        known = np.isfinite(reach)
        return np.asarray(at[known][np.argsort(reach[known], kind="stable")])

    def gains_forward(self) -> Floats:
        """Return the std of activations per layer, over that of the layer's input; (layers,).

        Where the run does not record inputs, they are the activations of the layer before in a
        chain of layers, and NaN otherwise.
        """
        std = self.snapshot.field("activation", "std")
        if self.measures("input"):
            return _ratio(std, self.snapshot.field("input", "std"))
        if not self.chain:
            return np.full(len(std), math.nan)
        before = np.concatenate([[self.input_std or math.nan], std[:-2]])
        return np.append(_ratio(std[:-1], before), math.nan)

    def gains_backward(self) -> Floats:
        """Return the std of the gradient at a layer's input over that at its output; (layers,).

        Where the run does not record the former, it is dL/dA of the layer over that of the layer
        after it in a chain, which is NaN for the last two; and NaN otherwise.
        """
        std = self.snapshot.field("activation_grad", "std")
        if self.measures("input_grad"):
            return _ratio(self.snapshot.field("input_grad", "std"), std)
        if not self.chain:
            return np.full(len(std), math.nan)
        after = np.concatenate([std[1:-1], [math.nan]])
        return np.append(_ratio(std[:-1], after), math.nan)


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(a / b)
