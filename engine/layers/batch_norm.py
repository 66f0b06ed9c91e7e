"""Batch normalisation (Ioffe and Szegedy, 2015; lecture 6, "batch normalization")."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.backends.base import Array, Backend
from engine.errors import ShapeError, UnknownNameError, require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers

STARTS: Final = ("normalized", "identity")
TOO_FEW: Final = "batch_norm needs at least 2 examples in a training batch"


@layers.register("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = γ x̂ + β with x̂ = (x − mean) / √(var + ε), over the batch; x and y (batch, features).

    Of images (batch, height, width, channels) each channel, an activation map, has one mean and one
    variance over batch and space.

    In training, mean and (population) variance of the batch; at evaluation, running averages, so
    that the output for one example does not depend on the others. The averages follow PyTorch's
    convention: `running ← (1 − momentum) · running + momentum · batch`, with the unbiased variance.

    With `start = "identity"`, γ = √(var + ε) and β = mean of the first training batch, which the
    running averages are too: the layer begins as if it were not there, which it can learn to be at
    any time (lecture 6: "the network can squash the range if it wants to").

    Backwards: dβ = Σ dy, dγ = Σ dy x̂, dx = γ/√(var + ε) · (dy − dβ/N − x̂ dγ/N).
    """

    kind: ClassVar = "batch_norm"
    momentum: float = 0.1
    epsilon: float = 1e-5
    start: Literal["normalized", "identity"] = "normalized"

    def __post_init__(self) -> None:
        require(0 < self.momentum <= 1, "momentum", f"must be in (0, 1], is {self.momentum}")
        require(self.epsilon > 0, "epsilon", f"must be positive, is {self.epsilon}")
        if self.start not in STARTS:
            raise UnknownNameError("start", self.start, STARTS, "start")

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        features = x[-1:]
        return {
            "gamma": Parameter(features, lambda _: np.ones(features)),
            "beta": Parameter(features, lambda _: np.zeros(features)),
        }

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        return {"running_mean": np.zeros(x[-1:]), "running_var": np.ones(x[-1:])}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, xp, n = scope.backend, scope.backend.xp, scope.examples * prod(x[:-1])
        if scope.backwards and n < 2:
            raise ShapeError(TOO_FEW)
        gamma, beta = scope.parameters["gamma"], scope.parameters["beta"]
        dgamma, dbeta = scope.gradients["gamma"], scope.gradients["beta"]
        running_mean, running_var = scope.state["running_mean"], scope.state["running_var"]
        output, input_gradient = scope.buffer(x), scope.gradient(x)
        y, dx = _rows(output), _rows(input_gradient)
        mean, var, inv_std, factor, slope, shift = (backend.empty(x[-1:]) for _ in range(6))
        total_mean, total_var = scope.total(x[-1:]), scope.total(x[-1:])
        total_slopes = scope.total(x[-1:], x[-1:])
        passes = _kernels(backend, y, dx) or _formulas(backend, y, dx)
        last: list[Array] = [y, mean]  # the last input, and the mean that it was centred by

        def measure(x: Array) -> None:
            """Set mean and var to those of the batch."""
            passes.sum(mean, x)
            (total,) = total_mean(mean)
            xp.divide(total, n, out=mean)
            passes.centre(x, mean)
            passes.sum_squares(var, mean)
            (total,) = total_var(var)
            xp.divide(total, n, out=var)

        def set_factor(variance: Array) -> None:
            """inv_std = 1 / √(variance + ε), factor = γ · inv_std."""
            xp.add(variance, self.epsilon, out=inv_std)
            xp.sqrt(inv_std, out=inv_std)
            xp.divide(1, inv_std, out=inv_std)
            xp.multiply(gamma, inv_std, out=factor)

        def average(running: Array, batch: Array, weight: float) -> None:
            xp.multiply(running, 1 - self.momentum, out=running)
            xp.multiply(batch, weight, out=shift)
            xp.add(running, shift, out=running)

        def normalize_in_passes(x: Array) -> None:
            measure(x)
            set_factor(var)
            if scope.leads:
                average(running_mean, mean, self.momentum)
                average(running_var, var, self.momentum * n / (n - 1))
            passes.apply(x, mean, factor, beta)

        def differentiate_in_passes(x: Array, mean: Array, dy: Array) -> None:
            passes.slopes(dgamma, dbeta, x, mean, dy)
            xp.multiply(dgamma, inv_std, out=dgamma)
            total_dgamma, total_dbeta = total_slopes(dgamma, dbeta)
            xp.multiply(total_dgamma, inv_std, out=slope)
            xp.divide(slope, n, out=slope)
            xp.divide(total_dbeta, n, out=shift)
            passes.differentiate(x, mean, dy, slope, shift, factor)

        normalize: Callable[..., None] = normalize_in_passes
        differentiate: Callable[..., None] = differentiate_in_passes
        if scope.shard is None:  # no others have rows of the batch: all passes can be one call
            constants = *y.shape, self.momentum, self.epsilon
            forwards = y, mean, inv_std, factor, gamma, beta, running_mean, running_var
            backwards = dx, dgamma, dbeta, inv_std, factor
            normalize = (
                backend.kernel("batch_norm_forward", *forwards, *constants, sizes=[y.size])
                or normalize
            )
            sizes = dx.size, len(mean), dx.size
            differentiate = (
                backend.kernel("batch_norm_backward", *backwards, *dx.shape, sizes=sizes)
                or differentiate
            )

        def forward(x: Array, training: bool) -> Array:
            if training and n < 2:  # before the first weights nobody asks for a gradient
                raise ShapeError(TOO_FEW)
            last[:] = _rows(x), mean if training else running_mean
            if training:
                normalize(last[0])
            else:
                set_factor(running_var)
                passes.centre(last[0], running_mean)
                passes.apply(last[0], running_mean, factor, beta)
            return output

        def backward(dy: Array) -> Array:
            differentiate(*last, _rows(dy))
            return input_gradient

        def start(x: Array) -> Array:
            measure(_rows(x))
            xp.copyto(running_mean, mean)
            xp.copyto(running_var, var)
            xp.add(var, self.epsilon, out=gamma)
            xp.sqrt(gamma, out=gamma)
            xp.copyto(beta, mean)
            return forward(x, False)

        identity = self.start == "identity"
        return Bound(forward, backward, output, input_gradient, start if identity else None)


def _rows(x: Array) -> Array:
    """Return x (batch, *space, features) as (rows, features)."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


@dataclass(frozen=True, slots=True)
class _Passes:
    """The passes over x, y, dy and dx (rows, features); all else has the shape (features,)."""

    sum: Callable[[Array, Array], None]
    """(total, x): total = Σ x."""
    centre: Callable[[Array, Array], None]
    """(x, mean): what the formulas do once, x − mean; kernels do it on the way."""
    sum_squares: Callable[[Array, Array], None]
    """(total, mean): total = Σ (x − mean)² of the x last summed."""
    apply: Callable[[Array, Array, Array, Array], None]
    """(x, mean, factor, beta): y = (x − mean) · factor + β."""
    slopes: Callable[..., None]
    """(slopes, sums, x, mean, dy): slopes = Σ dy · (x − mean), sums = Σ dy."""
    differentiate: Callable[..., None]
    """(x, mean, dy, slope, shift, factor): dx = (dy − (x − mean) · slope − shift) · factor."""


def _kernels(backend: Backend, y: Array, dx: Array) -> _Passes | None:
    middle, squares = (backend.empty(y.shape[-1:]) for _ in range(2))
    n, m, row = y.size, dx.size, len(middle)

    def kernel(name: str, *fixed: Any, sizes: Sequence[int]) -> Any:
        return backend.kernel(f"batch_norm_{name}", *fixed, sizes=sizes)

    sums = kernel("sums", middle, squares, *y.shape, sizes=[row, n])
    if sums is None:
        return None
    return _Passes(
        sums,
        lambda x, mean: None,
        kernel("squares", middle, squares, *y.shape, sizes=[row, row]),
        kernel("apply", y, *y.shape, sizes=[n, row, row, row]),
        kernel("slopes", *dx.shape, sizes=[row, row, m, row, m]),
        kernel("differentiate", dx, *dx.shape, sizes=[m, row, m, row, row, row]),
    )


def _formulas(backend: Backend, y: Array, dx: Array) -> _Passes:
    xp, ones = backend.xp, backend.full((len(y),), 1.0)
    centred = backend.empty(y.shape)  # × inv_std is x̂, which is never written out

    def sums(total: Array, x: Array) -> None:
        xp.matmul(ones, x, out=total)

    def centre(x: Array, mean: Array) -> None:
        xp.subtract(x, mean, out=centred)

    def sum_squares(total: Array, mean: Array) -> None:
        xp.multiply(centred, centred, out=y)
        xp.matmul(ones, y, out=total)

    def apply(x: Array, mean: Array, factor: Array, beta: Array) -> None:
        xp.multiply(centred, factor, out=y)
        xp.add(y, beta, out=y)

    def slopes(slopes: Array, sums: Array, x: Array, mean: Array, dy: Array) -> None:
        xp.multiply(dy, centred, out=dx)
        xp.matmul(ones, dx, out=slopes)
        xp.matmul(ones, dy, out=sums)

    def differentiate(
        x: Array, mean: Array, dy: Array, slope: Array, shift: Array, factor: Array
    ) -> None:
        xp.multiply(centred, slope, out=dx)
        xp.add(dx, shift, out=dx)
        xp.subtract(dy, dx, out=dx)
        xp.multiply(dx, factor, out=dx)

    return _Passes(sums, centre, sum_squares, apply, slopes, differentiate)
