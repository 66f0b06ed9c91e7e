"""Batch normalisation (Ioffe and Szegedy, 2015; lecture 6, "batch normalization")."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.backend import Array
from engine.errors import ShapeError, require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers


@layers.register("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = γ x̂ + β with x̂ = (x − mean) / √(var + ε), over the batch; x and y (batch, features).

    Of images (batch, height, width, channels) each channel, an activation map, has one mean and one
    variance over batch and space.

    In training, mean and (population) variance of the batch; at evaluation, running averages, so
    that the output for one example does not depend on the others. The averages follow PyTorch's
    convention: `running ← (1 − momentum) · running + momentum · batch`, with the unbiased variance.

    Backwards: dβ = Σ dy, dγ = Σ dy x̂, dx = γ/√(var + ε) · (dy − dβ/N − x̂ dγ/N).
    """

    kind: ClassVar = "batch_norm"
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        require(0 < self.momentum <= 1, "momentum", f"must be in (0, 1], is {self.momentum}")
        require(self.epsilon > 0, "epsilon", f"must be positive, is {self.epsilon}")

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        features = x[-1:]
        return {
            "gamma": Parameter(features, lambda _: np.ones(features)),
            "beta": Parameter(features, lambda _: np.zeros(features)),
        }

    def state(self, x: Shape) -> dict[str, npt.NDArray[Any]]:
        return {"running_mean": np.zeros(x[-1:]), "running_var": np.ones(x[-1:])}

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, xp, n = scope.backend, scope.backend.xp, scope.batch * prod(x[:-1])
        if scope.backwards and n < 2:
            raise ShapeError("batch_norm needs at least 2 examples in a training batch")
        gamma, beta = scope.parameters["gamma"], scope.parameters["beta"]
        dgamma, dbeta = scope.gradients["gamma"], scope.gradients["beta"]
        running_mean, running_var = scope.state["running_mean"], scope.state["running_var"]
        output, input_gradient = scope.buffer(x), scope.gradient(x)
        rows = (-1, x[-1])
        y, dx, x_hat = output.reshape(rows), input_gradient.reshape(rows), backend.empty((n, x[-1]))
        ones = backend.full((n,), 1.0)
        mean, var, scale, row = (backend.empty(x[-1:]) for _ in range(4))

        def average(running: Array, batch: Array, weight: float) -> None:
            xp.multiply(running, 1 - self.momentum, out=running)
            xp.multiply(batch, weight, out=row)
            xp.add(running, row, out=running)

        def inverse_std(variance: Array) -> None:
            """scale = 1 / √(variance + ε)."""
            xp.add(variance, self.epsilon, out=scale)
            xp.sqrt(scale, out=scale)
            xp.divide(1, scale, out=scale)

        def forward(x: Array, training: bool) -> Array:
            x = x.reshape(rows)
            if training:
                xp.matmul(ones, x, out=mean)
                xp.divide(mean, n, out=mean)
                xp.subtract(x, mean, out=x_hat)
                xp.multiply(x_hat, x_hat, out=y)
                xp.matmul(ones, y, out=var)
                xp.divide(var, n, out=var)
                inverse_std(var)
                average(running_mean, mean, self.momentum)
                average(running_var, var, self.momentum * n / (n - 1))
            else:
                xp.subtract(x, running_mean, out=x_hat)
                inverse_std(running_var)
            xp.multiply(x_hat, scale, out=x_hat)
            xp.multiply(x_hat, gamma, out=y)
            xp.add(y, beta, out=y)
            return output

        def backward(dy: Array) -> Array:
            dy = dy.reshape(rows)
            xp.multiply(dy, x_hat, out=dx)
            xp.matmul(ones, dx, out=dgamma)
            xp.matmul(ones, dy, out=dbeta)
            xp.divide(dgamma, n, out=row)
            xp.multiply(x_hat, row, out=dx)
            xp.divide(dbeta, n, out=row)
            xp.add(dx, row, out=dx)
            xp.subtract(dy, dx, out=dx)
            xp.multiply(scale, gamma, out=row)
            xp.multiply(dx, row, out=dx)
            return input_gradient

        return Bound(forward, backward, output, input_gradient)
