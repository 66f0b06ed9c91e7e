"""Penalties on the weights, gradient clipping, and a limit for the norm of a unit's weights.

All strengths and limits are hyper-parameters, read at every step; 0 means none. Penalties and the
limit do not apply to biases and to the parameters of normalisation layers.
"""

from typing import Final

from engine.network import BoundNetwork
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import blocks

TINY: Final = 1e-6
"""PyTorch's clip_grad_norm_ adds this to the norm before dividing."""


class Penalty:
    """½ λ ‖W‖² + λ₁ Σ|W| over all parameters that decay."""

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters, *, l2: bool = True) -> None:
        store, self._xp, self._hyper, self._l2 = network.store, network.backend.xp, hyper, l2
        self._weights = store.values[: store.decaying]
        self._blocks = blocks(network.backend, self._weights, store.gradients[: store.decaying])

    def __call__(self) -> float:
        """Return the penalty and add its gradient, λ W + λ₁ sign W, to that of the loss."""
        xp, total = self._xp, 0.0
        decay = self._hyper["weight_decay"] if self._l2 else 0.0
        lasso = self._hyper["l1"]
        if decay:
            for weight, gradient, scratch in self._blocks:
                xp.multiply(weight, decay, out=scratch)
                xp.add(gradient, scratch, out=gradient)
            total += 0.5 * decay * float(xp.dot(self._weights, self._weights))
        if lasso:
            for weight, gradient, scratch in self._blocks:
                xp.sign(weight, out=scratch)
                total += lasso * float(xp.dot(scratch, weight))
                xp.multiply(scratch, lasso, out=scratch)
                xp.add(gradient, scratch, out=gradient)
        return total


class Clipping:
    """Clips every element of the gradient to ±`clip_value`, then its norm to `clip_norm`."""

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters) -> None:
        self._xp, self._hyper = network.backend.xp, hyper
        self._gradients = network.store.gradients

    def __call__(self) -> None:
        """Clip the gradients in place, like PyTorch's clip_grad_value_ and clip_grad_norm_."""
        xp, gradients = self._xp, self._gradients
        if value := self._hyper["clip_value"]:
            xp.clip(gradients, -value, value, out=gradients)
        if limit := self._hyper["clip_norm"]:
            norm = float(xp.dot(gradients, gradients)) ** 0.5
            if norm + TINY > limit:
                xp.multiply(gradients, limit / (norm + TINY), out=gradients)


class MaxNorm:
    """Scales the incoming weights of a unit down to the norm `max_norm` (Srivastava et al., 2014).

    The norms of a weight (inputs, units) are computed from some rows at a time, so that the squares
    need no second matrix.
    """

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters) -> None:
        backend, self._xp, self._hyper = network.backend, network.backend.xp, hyper
        self._weights = []
        for weight in network.store.weights:
            inputs, units = weight.shape
            rows = min(inputs, max(1, backend.block // units))
            squares, ones = backend.empty((rows, units)), backend.full((rows,), 1.0)
            norm, part = backend.empty((units,)), backend.empty((units,))
            row_blocks = [
                (block, squares[: len(block)], ones[: len(block)])
                for block in (weight[start : start + rows] for start in range(0, inputs, rows))
            ]
            self._weights.append((row_blocks, norm, part))

    def __call__(self) -> None:
        """Scale down the weights of every unit whose norm exceeds the limit."""
        xp, limit = self._xp, self._hyper["max_norm"]
        if not limit:
            return
        for row_blocks, norm, part in self._weights:
            norm.fill(0)
            for block, squares, ones in row_blocks:
                xp.multiply(block, block, out=squares)
                xp.matmul(ones, squares, out=part)
                xp.add(norm, part, out=norm)
            xp.sqrt(norm, out=norm)
            xp.maximum(norm, limit, out=norm)
            xp.divide(limit, norm, out=norm)
            for block, _, _ in row_blocks:
                xp.multiply(block, norm, out=block)
