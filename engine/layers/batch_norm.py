"""Batch normalisation (Ioffe and Szegedy, 2015; lecture 6, "batch normalization")."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.backend import Array, Backend
from engine.errors import ShapeError, UnknownNameError, require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers

STARTS: Final = ("normalized", "identity")


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
            raise ShapeError("batch_norm needs at least 2 examples in a training batch")
        gamma, beta = scope.parameters["gamma"], scope.parameters["beta"]
        dgamma, dbeta = scope.gradients["gamma"], scope.gradients["beta"]
        running_mean, running_var = scope.state["running_mean"], scope.state["running_var"]
        output, input_gradient = scope.buffer(x), scope.gradient(x)
        y, dx = _rows(output), _rows(input_gradient)
        mean, var, scale, factor, slope, shift = (backend.empty(x[-1:]) for _ in range(6))
        passes = _passes(backend, y, dx)
        # Where no others have rows of the batch, nothing need be asked between the passes.
        forward_at_once = backward_at_once = None
        if scope.shard is None:
            found, running = (mean, scale, factor, gamma, beta), (running_mean, running_var)
            constants = self.momentum, self.epsilon
            forward_at_once = backend.kernel(
                "batch_norm_forward", y, *found, *running, *y.shape, *constants
            )
            backward_at_once = backend.kernel(
                "batch_norm_backward", dx, dgamma, dbeta, scale, factor, *dx.shape
            )
        total_mean, total_var = scope.total(x[-1:]), scope.total(x[-1:])
        total_slopes = scope.total(x[-1:], x[-1:])

        def average(running: Array, batch: Array, weight: float) -> None:
            xp.multiply(running, 1 - self.momentum, out=running)
            xp.multiply(batch, weight, out=shift)
            xp.add(running, shift, out=running)

        def inverse_std(variance: Array) -> None:
            """scale = 1 / √(variance + ε)."""
            xp.add(variance, self.epsilon, out=scale)
            xp.sqrt(scale, out=scale)
            xp.divide(1, scale, out=scale)

        def measure(x: Array) -> None:
            """Set mean and var to those of the batch, and the passes about this mean."""
            passes.sum(x, mean)
            (total,) = total_mean(mean)
            xp.divide(total, n, out=mean)
            passes.centre(x, mean)
            passes.sum_squares(var)
            (total,) = total_var(var)
            xp.divide(total, n, out=var)

        def start(x: Array) -> Array:
            measure(_rows(x))
            xp.copyto(running_mean, mean)
            xp.copyto(running_var, var)
            xp.add(var, self.epsilon, out=gamma)
            xp.sqrt(gamma, out=gamma)
            xp.copyto(beta, mean)
            return forward(x, False)

        def forward(x: Array, training: bool) -> Array:
            x = _rows(x)
            if training and forward_at_once is not None:
                passes.centre(x, mean)
                forward_at_once(x)
                return output
            if training:
                measure(x)
                inverse_std(var)
                if scope.leads:
                    average(running_mean, mean, self.momentum)
                    average(running_var, var, self.momentum * n / (n - 1))
            else:
                passes.centre(x, running_mean)
                inverse_std(running_var)
            xp.multiply(gamma, scale, out=factor)
            passes.forward(factor, beta)
            return output

        def backward(dy: Array) -> Array:
            dy = _rows(dy)
            if backward_at_once is not None:
                backward_at_once(*passes.about, dy)
                return input_gradient
            passes.sum_slopes(dy, dgamma, dbeta)
            xp.multiply(dgamma, scale, out=dgamma)
            total_dgamma, total_dbeta = total_slopes(dgamma, dbeta)
            xp.multiply(total_dgamma, scale, out=slope)
            xp.divide(slope, n, out=slope)
            xp.divide(total_dbeta, n, out=shift)
            passes.backward(dy, slope, shift, factor)
            return input_gradient

        identity = self.start == "identity"
        return Bound(forward, backward, output, input_gradient, start if identity else None)


def _rows(x: Array) -> Array:
    """Return x (batch, *space, features) as (rows, features)."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _passes(backend: Backend, y: Array, dx: Array) -> "_Formulas":
    compiled = backend.kernel("batch_norm_sums") is not None
    return _Kernels(backend, y, dx) if compiled else _Formulas(backend, y, dx)


class _Formulas:
    """The passes over x, y, dy and dx (rows, features); all else has the shape (features,)."""

    def __init__(self, backend: Backend, y: Array, dx: Array) -> None:
        self._xp, self._y, self._dx = backend.xp, y, dx
        self.about: tuple[Array, Array] = y, y  # x, and the middle that it is centred about
        self._centred = backend.empty(y.shape)  # × scale is x̂, which is never written out
        self._ones = backend.full((len(y),), 1.0)

    def sum(self, x: Array, total: Array) -> None:
        """Write Σ x into `total`."""
        self._xp.matmul(self._ones, x, out=total)

    def centre(self, x: Array, middle: Array) -> None:
        """Set what all others are about: x − middle."""
        self.about = x, middle
        self._xp.subtract(x, middle, out=self._centred)

    def sum_squares(self, total: Array) -> None:
        """Write Σ (x − middle)² into `total`."""
        self._xp.multiply(self._centred, self._centred, out=self._y)
        self._xp.matmul(self._ones, self._y, out=total)

    def forward(self, factor: Array, beta: Array) -> None:
        """y = (x − middle) · factor + β."""
        self._xp.multiply(self._centred, factor, out=self._y)
        self._xp.add(self._y, beta, out=self._y)

    def sum_slopes(self, dy: Array, dgamma: Array, dbeta: Array) -> None:
        """Write Σ dy (x − middle) into `dgamma`, and Σ dy into `dbeta`."""
        self._xp.multiply(dy, self._centred, out=self._dx)
        self._xp.matmul(self._ones, self._dx, out=dgamma)
        self._xp.matmul(self._ones, dy, out=dbeta)

    def backward(self, dy: Array, slope: Array, shift: Array, factor: Array) -> None:
        """dx = (dy − (x − middle) · slope − shift) · factor."""
        self._xp.multiply(self._centred, slope, out=self._dx)
        self._xp.add(self._dx, shift, out=self._dx)
        self._xp.subtract(dy, self._dx, out=self._dx)
        self._xp.multiply(self._dx, factor, out=self._dx)


class _Kernels(_Formulas):
    """The same as compiled kernels, which read x itself once more and centre it on the way."""

    def __init__(self, backend: Backend, y: Array, dx: Array) -> None:
        def kernel(name: str, *fixed: Any) -> Callable[..., None]:
            found = backend.kernel(f"batch_norm_{name}", *fixed)
            assert found is not None  # they come together
            return found

        middle, squares = (backend.empty(y.shape[-1:]) for _ in range(2))
        self.about = y, middle
        self._sums = kernel("sums", middle, squares, *y.shape)
        self._squares = kernel("squares", middle, squares, *y.shape)
        self._forward = kernel("apply", y, *y.shape)
        self._slopes = kernel("slopes", *dx.shape)
        self._backward = kernel("lead_back", dx, *dx.shape)

    def sum(self, x: Array, total: Array) -> None:
        self._sums(total, x)

    def centre(self, x: Array, middle: Array) -> None:
        self.about = x, middle

    def sum_squares(self, total: Array) -> None:
        self._squares(total, self.about[1])

    def forward(self, factor: Array, beta: Array) -> None:
        self._forward(*self.about, factor, beta)

    def sum_slopes(self, dy: Array, dgamma: Array, dbeta: Array) -> None:
        self._slopes(dgamma, dbeta, *self.about, dy)

    def backward(self, dy: Array, slope: Array, shift: Array, factor: Array) -> None:
        self._backward(*self.about, dy, slope, shift, factor)
