"""What keeps weights and gradients small: penalties, clipping, a limit for the norm of a unit.

All strengths and limits are hyper-parameters, read at every step; 0 means none. Biases and the
parameters of normalisation layers are exempt from what concerns weights.
"""

from typing import Final

from engine.network.network import BoundNetwork
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import blocks

TINY: Final = 1e-6
"""What PyTorch's clip_grad_norm_ adds to the norm that it divides by."""


class Penalty:
    """½ λ ‖W‖² and λ₁ Σ|W| over all that decays."""

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters, *, l2: bool = True) -> None:
        store, self._xp, self._hyper, self._l2 = network.store, network.backend.xp, hyper, l2
        self._weights = store.values[: store.decaying]
        self._blocks = blocks(network.backend, self._weights, store.gradients[: store.decaying])

    def __call__(self) -> float:
        """Return the penalty and add its gradient, λ W + λ₁ sign W."""
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
    """Bounds the gradient: each element to ±`clip_value`, then the whole to `clip_norm`."""

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters) -> None:
        self._xp, self._hyper = network.backend.xp, hyper
        self._gradients = network.store.gradients

    def __call__(self) -> None:
        """Clip the gradients of all parameters, as PyTorch's clip_grad_value_ and _norm_ do."""
        xp, gradients = self._xp, self._gradients
        if value := self._hyper["clip_value"]:
            xp.clip(gradients, -value, value, out=gradients)
        if limit := self._hyper["clip_norm"]:
            norm = float(xp.dot(gradients, gradients)) ** 0.5
            if norm + TINY > limit:
                xp.multiply(gradients, limit / (norm + TINY), out=gradients)


class MaxNorm:
    """Scales the incoming weights of a unit back where their norm exceeds `max_norm`.

    Srivastava et al. (2014). A weight (inputs, units) is measured some rows at a time, so that
    its squares need no second matrix.
    """

    def __init__(self, network: BoundNetwork, hyper: Hyperparameters) -> None:
        backend, self._xp, self._hyper = network.backend, network.backend.xp, hyper
        self._weights = []
        for views in network.store.value_views:
            if (weight := views.get("weight")) is not None:
                inputs, units = weight.shape
                rows = min(inputs, max(1, backend.block // units))
                squares, ones = backend.empty((rows, units)), backend.full((rows,), 1.0)
                norm, part = backend.empty((units,)), backend.empty((units,))
                cut = [
                    (block, squares[: len(block)], ones[: len(block)])
                    for block in (weight[start : start + rows] for start in range(0, inputs, rows))
                ]
                self._weights.append((cut, norm, part))

    def __call__(self) -> None:
        """Hold the weights of every unit to the limit."""
        xp, limit = self._xp, self._hyper["max_norm"]
        if not limit:
            return
        for cut, norm, part in self._weights:
            norm.fill(0)
            for block, squares, ones in cut:
                xp.multiply(block, block, out=squares)
                xp.matmul(ones, squares, out=part)
                xp.add(norm, part, out=norm)
            xp.sqrt(norm, out=norm)
            xp.maximum(norm, limit, out=norm)
            xp.divide(limit, norm, out=norm)
            for block, _, _ in cut:
                xp.multiply(block, norm, out=block)
