"""Batch normalisation (Ioffe and Szegedy, 2015; lecture 6, "batch normalization")."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.backends.base import Array
from engine.errors import ShapeError, UnknownNameError, require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers
from engine.layers.batch_norm_passes import FormulaPasses, KernelPasses

STARTS: Final = ("normalized", "identity")
TOO_FEW: Final = "batch_norm needs at least 2 examples in a training batch"


@layers.register("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = γ x̂ + β with x̂ = (x − mean) / √(var + ε), over the batch; x and y (batch, features).

    For images (batch, height, width, channels), each channel has one mean and one variance, over
    batch and space.

    Training uses the mean and the (population) variance of the batch. Evaluation uses running
    averages, so that the output for one example does not depend on the others. The averages follow
    PyTorch's convention: `running ← (1 − momentum) · running + momentum · batch`, with the unbiased
    variance.

    With `start = "identity"`, γ = √(var + ε) and β = mean of the first training batch, as are the
    running averages: the layer begins as the identity, which it could also learn at any time
    (lecture 6: "the network can squash the range if it wants to").

    Backwards: dβ = Σ dy, dγ = Σ dy x̂, dx = γ/√(var + ε) · (dy − dβ/N − x̂ dγ/N).
    """

    kind: ClassVar = "batch_norm"
    normalizes: ClassVar = True
    momentum: float = 0.1  # weight of a batch in the running statistics
    epsilon: float = 1e-5  # added to the variance
    start: Literal["normalized", "identity"] = "normalized"  # of γ, β

    def __post_init__(self) -> None:
        require(0 < self.momentum <= 1, "momentum", f"must be in (0, 1], is {self.momentum}")
        require(self.epsilon > 0, "epsilon", f"must be positive, is {self.epsilon}")
        if self.start not in STARTS:
            raise UnknownNameError("start", self.start, STARTS, "start")

    @property
    def standardizes_units(self) -> bool:
        return self.start == "normalized"

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        features = x[-1:]
        return {
            "gamma": Parameter(features, lambda _: np.ones(features)),
            "beta": Parameter(features, lambda _: np.zeros(features)),
        }

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        return {"running_mean": np.zeros(x[-1:]), "running_var": np.ones(x[-1:])}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        n = scope.examples * prod(x[:-1])
        if scope.backwards and n < 2:
            raise ShapeError(TOO_FEW)
        y, dx = scope.output(x), scope.input_gradient(x)
        passes = _Normalization(self, n, scope, _rows(y), _rows(dx))
        normalize, differentiate = passes.fused() if scope.shard is None else (None, None)
        normalize = normalize or passes.normalize
        differentiate = differentiate or passes.differentiate

        def forward(x: Array, training: bool) -> Array:
            if not training:
                passes.evaluate(_rows(x))
            elif n < 2:  # bound without a backward pass
                raise ShapeError(TOO_FEW)
            else:
                normalize(_rows(x))
            return y

        def backward(x: Array, dy: Array) -> Array:
            differentiate(_rows(x), passes.mean, _rows(dy))
            return dx

        def start(x: Array) -> Array:
            passes.become_identity(_rows(x))
            return forward(x, False)

        return Bound(forward, backward, y, dx, start=start if self.start == "identity" else None)


def _rows(x: Array) -> Array:
    """Return x (batch, *space, features) as (rows, features)."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


class _Normalization:
    """The formula over the rows of a batch, or of a shard of it, with sums over all `n` rows.

    x, y, dy and dx are (rows, features), everything else (features,).
    """

    def __init__(self, layer: BatchNorm, n: int, scope: Scope, y: Array, dx: Array) -> None:
        backend, features = scope.backend, y.shape[1:]
        self._layer, self._n, self._backend, self._xp = layer, n, backend, backend.xp
        self._y, self._dx, self._updates_averages = y, dx, scope.updates_state
        self._gamma, self._beta = scope.parameters["gamma"], scope.parameters["beta"]
        self._dgamma, self._dbeta = scope.gradients["gamma"], scope.gradients["beta"]
        self._running_mean = scope.state["running_mean"]
        self._running_var = scope.state["running_var"]
        self.mean, self._var, self._inv_std = (backend.empty(features) for _ in range(3))
        self._factor, self._slope, self._shift = (backend.empty(features) for _ in range(3))
        self._total_of_x = scope.total("x", shape=features)
        self._total_of_squares = scope.total("squares", shape=features)
        self._total_gradients = scope.total("dgamma", "dbeta", shape=features)
        self._passes = KernelPasses.of(backend, y, dx) or FormulaPasses(backend, y, dx)

    def fused(self) -> tuple[Callable[..., None] | None, Callable[..., None] | None]:
        """Return kernels in place of `normalize` and `differentiate`, for all rows at once."""
        kernel, y, dx = self._backend.kernel, self._y, self._dx
        averages = self._running_mean, self._running_var
        forwards = y, self.mean, self._inv_std, self._factor, self._gamma, self._beta, *averages
        settings = *y.shape, self._layer.momentum, self._layer.epsilon
        backwards = dx, self._dgamma, self._dbeta, self._inv_std, self._factor, *dx.shape
        sizes = dx.size, self.mean.size, dx.size
        return (
            kernel("batch_norm_forward", *forwards, *settings, sizes=[y.size]),
            kernel("batch_norm_backward", *backwards, sizes=sizes),
        )

    def normalize(self, x: Array) -> None:
        """y = γ x̂ + β by the statistics of the batch, which the running averages follow."""
        self._measure(x)
        self._set_factor(self._var)
        if self._updates_averages:
            momentum, n = self._layer.momentum, self._n
            self._follow(self._running_mean, self.mean, momentum)
            self._follow(self._running_var, self._var, momentum * n / (n - 1))
        self._passes.apply(x, self.mean, self._factor, self._beta)

    def evaluate(self, x: Array) -> None:
        """y = γ x̂ + β by the running averages."""
        self._set_factor(self._running_var)
        self._passes.centre(x, self._running_mean)
        self._passes.apply(x, self._running_mean, self._factor, self._beta)

    def differentiate(self, x: Array, mean: Array, dy: Array) -> None:
        """dγ = Σ dy x̂, dβ = Σ dy, dx = factor · (dy − (x − mean) · dγ inv_std / n − dβ / n)."""
        xp, n = self._xp, self._n
        self._passes.slopes(self._dgamma, self._dbeta, x, mean, dy)
        xp.multiply(self._dgamma, self._inv_std, out=self._dgamma)
        dgamma, dbeta = self._total_gradients(self._dgamma, self._dbeta)
        xp.multiply(dgamma, self._inv_std, out=self._slope)
        xp.divide(self._slope, n, out=self._slope)
        xp.divide(dbeta, n, out=self._shift)
        self._passes.differentiate(x, mean, dy, self._slope, self._shift, self._factor)

    def become_identity(self, x: Array) -> None:
        """Set γ, β and the running averages so that y = x for this batch."""
        self._measure(x)
        self._xp.copyto(self._running_mean, self.mean)
        self._xp.copyto(self._running_var, self._var)
        self._xp.add(self._var, self._layer.epsilon, out=self._gamma)
        self._xp.sqrt(self._gamma, out=self._gamma)
        self._xp.copyto(self._beta, self.mean)

    def _measure(self, x: Array) -> None:
        """mean = Σ x / n, var = Σ (x − mean)² / n."""
        self._passes.sum(self.mean, x)
        (total,) = self._total_of_x(self.mean)
        self._xp.divide(total, self._n, out=self.mean)
        self._passes.centre(x, self.mean)
        self._passes.sum_squares(self._var, self.mean)
        (total,) = self._total_of_squares(self._var)
        self._xp.divide(total, self._n, out=self._var)

    def _set_factor(self, var: Array) -> None:
        """inv_std = 1 / √(var + ε), factor = γ · inv_std."""
        self._xp.add(var, self._layer.epsilon, out=self._inv_std)
        self._xp.sqrt(self._inv_std, out=self._inv_std)
        self._xp.divide(1, self._inv_std, out=self._inv_std)
        self._xp.multiply(self._gamma, self._inv_std, out=self._factor)

    def _follow(self, running: Array, batch: Array, weight: float) -> None:
        """running ← (1 − momentum) · running + weight · batch."""
        self._xp.multiply(running, 1 - self._layer.momentum, out=running)
        self._xp.multiply(batch, weight, out=self._shift)
        self._xp.add(running, self._shift, out=running)
