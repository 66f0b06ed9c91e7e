"""Batch normalisation (Ioffe and Szegedy, 2015; lecture 6, "batch normalization")."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from engine.backend import Array
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
        rows = (-1, x[-1])
        y, dx = output.reshape(rows), input_gradient.reshape(rows)
        centred = backend.empty(y.shape)  # × scale is x̂, which is never written out
        ones = backend.full((len(y),), 1.0)
        mean, var, scale, row = (backend.empty(x[-1:]) for _ in range(4))
        total_mean, total_var = scope.total(x[-1:]), scope.total(x[-1:])
        total_slopes = scope.total(x[-1:], x[-1:])

        def average(running: Array, batch: Array, weight: float) -> None:
            xp.multiply(running, 1 - self.momentum, out=running)
            xp.multiply(batch, weight, out=row)
            xp.add(running, row, out=running)

        def inverse_std(variance: Array) -> None:
            """scale = 1 / √(variance + ε)."""
            xp.add(variance, self.epsilon, out=scale)
            xp.sqrt(scale, out=scale)
            xp.divide(1, scale, out=scale)

        def measure(x: Array) -> None:
            """Set mean and var to those of the batch, and `centred` to x − mean."""
            xp.matmul(ones, x, out=mean)
            (total,) = total_mean(mean)
            xp.divide(total, n, out=mean)
            xp.subtract(x, mean, out=centred)
            xp.multiply(centred, centred, out=y)
            xp.matmul(ones, y, out=var)
            (total,) = total_var(var)
            xp.divide(total, n, out=var)

        def start(x: Array) -> Array:
            measure(x.reshape(rows))
            xp.copyto(running_mean, mean)
            xp.copyto(running_var, var)
            xp.add(var, self.epsilon, out=gamma)
            xp.sqrt(gamma, out=gamma)
            xp.copyto(beta, mean)
            return forward(x, False)

        def forward(x: Array, training: bool) -> Array:
            x = x.reshape(rows)
            if training:
                measure(x)
                inverse_std(var)
                if scope.leads:
                    average(running_mean, mean, self.momentum)
                    average(running_var, var, self.momentum * n / (n - 1))
            else:
                xp.subtract(x, running_mean, out=centred)
                inverse_std(running_var)
            xp.multiply(gamma, scale, out=row)
            xp.multiply(centred, row, out=y)
            xp.add(y, beta, out=y)
            return output

        def backward(dy: Array) -> Array:
            dy = dy.reshape(rows)
            xp.multiply(dy, centred, out=dx)
            xp.matmul(ones, dx, out=dgamma)
            xp.multiply(dgamma, scale, out=dgamma)
            xp.matmul(ones, dy, out=dbeta)
            total_dgamma, total_dbeta = total_slopes(dgamma, dbeta)
            xp.multiply(total_dgamma, scale, out=row)
            xp.divide(row, n, out=row)
            xp.multiply(centred, row, out=dx)
            xp.divide(total_dbeta, n, out=row)
            xp.add(dx, row, out=dx)
            xp.subtract(dy, dx, out=dx)
            xp.multiply(scale, gamma, out=row)
            xp.multiply(dx, row, out=dx)
            return input_gradient

        identity = self.start == "identity"
        return Bound(forward, backward, output, input_gradient, start if identity else None)
