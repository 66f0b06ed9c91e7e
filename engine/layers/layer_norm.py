"""Layer normalisation (Ba, Kiros and Hinton, 2016)."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from engine.backends.base import Array
from engine.errors import require
from engine.layers.base import Bound, Layer, Parameter, Scope, Shape, layers


@layers.register("layer_norm")
@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = γ x̂ + β with x̂ = (x − mean) / √(var + ε) over the features of each example.

    Independent of the batch, so that training and evaluation are the same.
    Backwards: dx = (γ dy − mean(γ dy) − x̂ mean(γ dy x̂)) / √(var + ε).
    """

    kind: ClassVar = "layer_norm"
    normalizes: ClassVar = True
    epsilon: float = 1e-5  # added to the variance

    def __post_init__(self) -> None:
        require(self.epsilon > 0, "epsilon", f"must be positive, is {self.epsilon}")

    def parameters(self, x: Shape) -> dict[str, Parameter]:
        return {
            "gamma": Parameter(x, lambda _: np.ones(x)),
            "beta": Parameter(x, lambda _: np.zeros(x)),
        }

    def bind(self, x: Shape, scope: Scope) -> Bound:
        backend, xp, n, d = scope.backend, scope.backend.xp, scope.batch, prod(x)
        gamma, beta = (scope.parameters[name].reshape(d) for name in ("gamma", "beta"))
        dgamma, dbeta = (scope.gradients[name].reshape(d) for name in ("gamma", "beta"))
        y, dx = scope.output(x), scope.input_gradient(x)
        flat_y, flat_dx = y.reshape(n, d), dx.reshape(-1, d)
        x_hat, over_d, ones = backend.empty((n, d)), backend.full((d,), 1 / d), scope.ones()
        mean, scale = backend.empty((n,)), backend.empty((n,))
        mean_column, scale_column = mean.reshape(n, 1), scale.reshape(n, 1)
        scratch = backend.empty(flat_dx.shape)

        def forward(x: Array, training: bool) -> Array:
            xp.matmul(x.reshape(n, d), over_d, out=mean)
            xp.subtract(x.reshape(n, d), mean_column, out=x_hat)
            xp.multiply(x_hat, x_hat, out=flat_y)
            xp.matmul(flat_y, over_d, out=scale)
            xp.add(scale, self.epsilon, out=scale)
            xp.sqrt(scale, out=scale)
            xp.divide(1, scale, out=scale)
            xp.multiply(x_hat, scale_column, out=x_hat)
            xp.multiply(x_hat, gamma, out=flat_y)
            xp.add(flat_y, beta, out=flat_y)
            return y

        def backward(x: Array, dy: Array) -> Array:
            flat_dy = dy.reshape(n, d)
            xp.multiply(flat_dy, x_hat, out=scratch)
            xp.matmul(ones, scratch, out=dgamma)
            xp.matmul(ones, flat_dy, out=dbeta)
            xp.multiply(flat_dy, gamma, out=flat_dx)
            xp.multiply(flat_dx, x_hat, out=scratch)
            xp.matmul(scratch, over_d, out=mean)
            xp.multiply(x_hat, mean_column, out=scratch)
            xp.matmul(flat_dx, over_d, out=mean)
            xp.subtract(flat_dx, mean_column, out=flat_dx)
            xp.subtract(flat_dx, scratch, out=flat_dx)
            xp.multiply(flat_dx, scale_column, out=flat_dx)
            return dx

        return Bound(forward, backward, y, dx)
