"""The theory of signal propagation: the spread of signals in an untrained network.

With weights drawn independently of everything else, with mean 0 and std σ_w, the pre-activations z
of a wide layer are Gaussian. They depend on its inputs a only through the mean square:

    forwards    Var z = σ_w² fan_in E[a²];   a of the next layer = φ(z)
    backwards   Var dL/dA of the layer before = σ_w² fan_out E[φ′(z)²] Var dL/dA

Glorot and Bengio (2010) derive them for φ′ = 1, He et al. (2015) for ReLU (a factor √½ per layer
both ways if σ_w² fan = 1), Poole et al. (2016) and Schoenholz et al. (2017) for any φ. Batch
normalisation makes Var z = 1 and divides gradients by the std of its input over the batch: a factor
√(π/(π − 1)) = 1.21 per layer for ReLU (Yang et al., 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from engine.activations import Activation, activations
from engine.backends import NumPyBackend
from engine.statistics.frames import Floats, LayerInfo, gain, hidden_layers

NODES: Final = 24  # in a panel: enough for E[tanh] to 1e-12
REACH: Final = 9.0  # standard deviations, with 1e-18 of a Gaussian beyond


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of a non-linearity φ over Gaussian pre-activations z."""

    mean: float  # E[φ(z)]
    square: float  # E[φ(z)²]
    slope_square: float  # E[φ′(z)²]

    @property
    def std(self) -> float:
        """Standard deviation of φ(z)."""
        return math.sqrt(max(self.square - self.mean**2, 0.0))


@lru_cache(maxsize=1024)
def moments(activation: Activation, std: float, mean: float = 0.0) -> Moments:
    """Return the moments of φ(z) for z of mean `mean` and standard deviation `std`."""
    t, weight = _quadrature(-mean / std if std > 0 else 0.0)
    z = mean + std * t
    backend = NumPyBackend("float64")
    scratch = [np.empty_like(z) for _ in range(activation.scratch)]
    y, slope = np.empty_like(z), np.empty_like(z)
    activation.forward(backend, z, y, scratch)
    activation.backward(backend, z, y, np.ones_like(z), slope, scratch)
    return Moments(
        *(float(weight @ values) for values in (y, y * y, slope * slope)),
    )


def _quadrature(zero: float) -> tuple[Floats, Floats]:
    """Return nodes and weights for an expectation over a unit Gaussian.

    Gauss–Legendre in panels that get narrower towards `zero`, where z = 0: ReLU has its kink there,
    and tanh of large pre-activations is almost a step, which Gauss–Hermite's evenly spaced nodes
    miss (at std 22, 100 of them are 10 % off for E[tanh′²]).
    """
    steps = np.concatenate([-(2.0 ** np.arange(4, -13, -1)), [0], 2.0 ** np.arange(-12, 5)])
    edges = np.unique(np.clip(zero + steps, -REACH, REACH))
    edges = np.unique(np.concatenate([[-REACH], edges, [REACH]]))
    x, w = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    t = (edges[:-1, None] + half * (x + 1)).ravel()
    density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return t, (half * w).ravel() * density


@dataclass(frozen=True, slots=True)
class Passage:
    """What theory predicts for one hidden layer."""

    std: float  # of its activations
    forward: float  # std over that of the layer before, or of the inputs
    weights: float  # σ_w √fan_in
    preserved: float  # root mean square after the non-linearity over that before it
    slope: float  # √E[φ′²], the same for gradients
    backward: float = math.nan  # std of dL/dA over that of the layer after; NaN for the last


@dataclass(frozen=True, slots=True)
class SignalTheory:
    """What theory predicts for the hidden layers; `reason` says why it stops before the last."""

    passages: Sequence[Passage] = ()
    reason: str = ""
    gradient: tuple[float, ...] = ()  # std of dL/dA relative to that of the last

    @property
    def gain_forward(self) -> float:
        """Factor per layer, as `Snapshot.gain_forward` measures it; NaN if unknown."""
        return math.nan if self.reason else gain(np.array([p.std for p in self.passages]))

    @property
    def gain_backward(self) -> float:
        """Factor per layer backwards, as `Snapshot.gain_backward` measures it."""
        return math.nan if self.reason else gain(np.array(self.gradient[::-1]))


def expected(
    layers: Sequence[LayerInfo], input_std: float, input_mean: float = 0.0
) -> SignalTheory:
    """Return the prediction for the hidden ones of `layers`, for inputs of this mean and std."""
    square, std, hidden = input_std**2 + input_mean**2, input_std, layers[: hidden_layers(layers)]
    passages: list[Passage] = []
    backward: list[float] = []  # from each layer to the one before
    reason = "" if std > 0 else "the spread of the inputs is unknown"
    for layer in hidden:
        if reason := reason or _unknown(layer):
            break
        assert layer.first is not None
        first, phi = layer.first, activations[layer.activation](**layer.settings)
        weights = first.std * math.sqrt(first.fan_in)
        norm = bool(layer.normalization)
        before = 1.0 if norm else weights * math.sqrt(square)
        after = moments(phi, before, 0.0 if norm else first.bias)
        down = first.std * math.sqrt(first.fan_out * after.slope_square)
        backward.append(down / (weights * std) if norm and weights * std else down)
        reached = math.hypot(before, 0.0 if norm else first.bias)
        preserved = math.sqrt(after.square) / reached if reached else math.nan
        gained, slope = after.std / std if std else math.nan, math.sqrt(after.slope_square)
        passages.append(Passage(after.std, gained, weights, preserved, slope))
        square, std = after.square, after.std
    relative = np.cumprod([1.0, *backward[:0:-1]])[::-1].tolist() if passages else []
    for at, factor in enumerate(backward[1:]):
        passages[at] = replace(passages[at], backward=factor)
    return SignalTheory(passages, reason, tuple(relative))


def _unknown(layer: LayerInfo) -> str:
    """Return why theory does not cover a layer; "" if it does."""
    if layer.between:
        return f"{', '.join(layer.between)} at layer {layer.index} is beyond it"
    if layer.kind != "linear":
        return f"it does not follow {layer.kind} (layer {layer.index})"
    if layer.activation not in activations:
        return f"{layer.activation or 'no non-linearity'} (layer {layer.index}) is beyond it"
    if layer.first is None:
        return f"the first weights of layer {layer.index} have no known spread"
    return ""
