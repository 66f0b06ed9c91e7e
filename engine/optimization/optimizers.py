"""Optimisers, as a few passes over one flat vector of parameters.

Settings that may change while training (learning rate, momentum …) are read at every step from
`Hyperparameters`. Formulas and defaults are PyTorch's, except for the learning rate of gradient
descent, 0.01.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from operator import call
from typing import ClassVar

import numpy as np

from engine.backends.base import Array, Backend
from engine.network.parameters import ParameterStore
from engine.optimization.hyperparameters import Hyperparameters, check
from engine.registry import Registry

optimizers: Registry["Optimizer"] = Registry("optimizer")


def cuts(length: int, block: int) -> list[slice]:
    """Return slices that divide a vector of `length` into blocks."""
    return [slice(start, start + block) for start in range(0, length, block)]


def blocks(backend: Backend, *flat: Array) -> list[tuple[Array, ...]]:
    """Return blocks of vectors of one length, with a shared scratch block at the end of each.

    All passes work on a block before the next one, while it is in a cache. On a GPU there is one
    block, because there the number of calls matters.
    """
    length = len(flat[0])
    scratch = backend.empty((min(backend.block, length),))
    return [
        (*(vector[cut] for vector in flat), scratch[: len(flat[0][cut])])
        for cut in cuts(length, min(backend.block, max(1, length)))
    ]


def sweep(
    backend: Backend, kernel: str, change: Callable[..., None], *flat: Array
) -> Callable[..., None]:
    """Return a function of constants: change(*blocks, scratch, *constants) on all blocks of `flat`.

    The threads of the back-end share long vectors. A compiled `kernel`, if there is one, replaces
    `change`: it takes one pass and gives the same bits.
    """
    team = backend.thread_team.worth(len(flat[0]))
    parts = [[vector[part] for vector in flat] for part in team.parts(len(flat[0]), backend.block)]
    works = [
        backend.kernel(kernel, *part, len(part[0])) or _blockwise(change, blocks(backend, *part))
        for part in parts
    ]
    if len(works) == 1:
        return works[0]
    return lambda *constants: team.run(call, [(work, *constants) for work in works])


def _blockwise(change: Callable[..., None], cut: list[tuple[Array, ...]]) -> Callable[..., None]:
    def work(*constants: float) -> None:
        for block in cut:
            change(*block, *constants)

    return work


@dataclass(frozen=True, slots=True)
class BoundOptimizer:
    """An optimiser bound to its arrays: its update, and its state between updates."""

    update: Callable[[], None]
    """Update the parameters by their gradients."""
    state: dict[str, Array]
    """What a checkpoint must save besides the parameters: arrays like them, and "step", the number
    of updates, with shape (1,) and on the host."""


@dataclass(frozen=True)
class Optimizer:
    """A frozen description; its float fields are the hyper-parameters.

    A limit or strength of 0 means none.
    """

    decoupled: ClassVar[bool] = False
    """Whether `weight_decay` shrinks the weights in the update instead of adding to the loss."""

    learning_rate: float = 0.01  # factor of each step
    weight_decay: float = 0.0  # λ of ½λ‖W‖², added to the loss
    l1: float = 0.0  # strength of Σ|W|, added to the loss
    max_norm: float = 0.0  # of the incoming weights of a unit, after the update
    clip_norm: float = 0.0  # of the whole gradient
    clip_value: float = 0.0  # of each of its elements

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            check(key, value)

    def hyperparameters(self) -> Hyperparameters:
        """Return the initial values of the numbers that can change during training."""
        return Hyperparameters(asdict(self))

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        """Return the update of the flat parameters of `store` by their gradients."""
        raise NotImplementedError


@optimizers.register("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """v ← μ v + g; w ← w − η v: gradient descent with momentum μ (Polyak, 1964).

    As in PyTorch, the velocity does not contain the learning rate: a change of it acts at once.
    """

    momentum: float = 0.0  # weight of earlier steps

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        xp, velocity = backend.xp, backend.full(store.values.shape, 0.0)

        def move(w: Array, g: Array, v: Array, change: Array, rate: float, momentum: float) -> None:
            xp.multiply(v, momentum, out=v)
            xp.add(v, g, out=v)
            xp.multiply(v, rate, out=change)
            xp.subtract(w, change, out=w)

        moving = sweep(backend, "sgd", move, store.values, store.gradients, velocity)
        return BoundOptimizer(lambda: moving(hyper.rate, hyper["momentum"]), {"velocity": velocity})


@optimizers.register("nesterov")
@dataclass(frozen=True)
class Nesterov(Optimizer):
    """v ← μ v + g; w ← w − η (g + μ v): momentum that looks ahead (Sutskever et al., 2013)."""

    momentum: float = 0.9  # weight of earlier steps

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        xp, velocity = backend.xp, backend.full(store.values.shape, 0.0)

        def move(w: Array, g: Array, v: Array, change: Array, rate: float, momentum: float) -> None:
            xp.multiply(v, momentum, out=v)
            xp.add(v, g, out=v)
            xp.multiply(v, momentum, out=change)
            xp.add(change, g, out=change)
            xp.multiply(change, rate, out=change)
            xp.subtract(w, change, out=w)

        moving = sweep(backend, "nesterov", move, store.values, store.gradients, velocity)
        return BoundOptimizer(lambda: moving(hyper.rate, hyper["momentum"]), {"velocity": velocity})


@optimizers.register("adagrad")
@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """s ← s + g²; w ← w − η g / (√s + ε) (Duchi et al., 2011): steps only get smaller."""

    epsilon: float = 1e-10  # added to the denominator

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        xp, squares = backend.xp, backend.full(store.values.shape, 0.0)

        def move(w: Array, g: Array, s: Array, change: Array, rate: float, epsilon: float) -> None:
            xp.multiply(g, g, out=change)
            xp.add(s, change, out=s)
            xp.sqrt(s, out=change)
            xp.add(change, epsilon, out=change)
            xp.divide(g, change, out=change)
            xp.multiply(change, rate, out=change)
            xp.subtract(w, change, out=w)

        moving = sweep(backend, "adagrad", move, store.values, store.gradients, squares)
        return BoundOptimizer(lambda: moving(hyper.rate, hyper["epsilon"]), {"squares": squares})


@optimizers.register("rmsprop")
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """s ← α s + (1 − α) g²; v ← μ v + g / (√s + ε); w ← w − η v (Tieleman and Hinton, 2012)."""

    alpha: float = 0.99  # weight of the past in the mean square
    epsilon: float = 1e-8  # added to the denominator
    momentum: float = 0.0  # weight of earlier steps

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        xp = backend.xp
        squares, velocity = (backend.full(store.values.shape, 0.0) for _ in range(2))

        def move(
            w: Array, g: Array, s: Array, v: Array, change: Array,
            rate: float, momentum: float, alpha: float, epsilon: float,
        ) -> None:  # fmt: skip
            xp.multiply(s, alpha, out=s)
            xp.multiply(g, g, out=change)
            xp.multiply(change, 1 - alpha, out=change)
            xp.add(s, change, out=s)
            xp.sqrt(s, out=change)
            xp.add(change, epsilon, out=change)
            xp.divide(g, change, out=change)
            xp.multiply(v, momentum, out=v)
            xp.add(v, change, out=v)
            xp.multiply(v, rate, out=change)
            xp.subtract(w, change, out=w)

        vectors = store.values, store.gradients, squares, velocity
        moving = sweep(backend, "rmsprop", move, *vectors)

        def update() -> None:
            moving(hyper.rate, hyper["momentum"], hyper["alpha"], hyper["epsilon"])

        return BoundOptimizer(update, {"squares": squares, "velocity": velocity})


@optimizers.register("adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g; s ← β₂ s + (1 − β₂) g²; w ← w − η m̂ / (√ŝ + ε) (Kingma and Ba, 2015).

    m̂ = m / (1 − β₁ᵗ) and ŝ = s / (1 − β₂ᵗ) after t updates: without this bias correction both
    would be too small at first.
    """

    learning_rate: float = 1e-3  # factor of each step
    beta1: float = 0.9  # weight of the past in the mean
    beta2: float = 0.999  # weight of the past in the mean square
    epsilon: float = 1e-8  # added to the denominator

    def bind(
        self, store: ParameterStore, hyper: Hyperparameters, backend: Backend
    ) -> BoundOptimizer:
        xp, step = backend.xp, np.zeros(1, np.int64)
        mean, squares = (backend.full(store.values.shape, 0.0) for _ in range(2))

        def shrink(w: Array, _: Array, factor: float) -> None:
            xp.multiply(w, factor, out=w)

        def move(
            w: Array, g: Array, m: Array, s: Array, change: Array,
            rate: float, beta1: float, beta2: float, epsilon: float,
        ) -> None:  # fmt: skip
            xp.subtract(g, m, out=change)
            xp.multiply(change, 1 - beta1, out=change)
            xp.add(m, change, out=m)
            xp.multiply(s, beta2, out=s)
            xp.multiply(g, g, out=change)
            xp.multiply(change, 1 - beta2, out=change)
            xp.add(s, change, out=s)
            xp.sqrt(s, out=change)
            xp.add(change, epsilon, out=change)
            xp.divide(m, change, out=change)
            xp.multiply(change, rate, out=change)
            xp.subtract(w, change, out=w)

        shrinking = sweep(backend, "shrink", shrink, store.values[: store.decaying])
        moving = sweep(backend, "adam", move, store.values, store.gradients, mean, squares)

        def update() -> None:
            step[0] += 1
            if self.decoupled and hyper["weight_decay"]:
                shrinking(1 - hyper.rate * hyper["weight_decay"])
            beta1, beta2 = hyper["beta1"], hyper["beta2"]
            # η · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ)) + ε), with everything that is the same for all
            # weights combined into two numbers.
            root = (1 - beta2 ** int(step[0])) ** 0.5
            rate = hyper.rate * root / (1 - beta1 ** int(step[0]))
            moving(rate, beta1, beta2, hyper["epsilon"] * root)

        return BoundOptimizer(update, {"mean": mean, "squares": squares, "step": step})


@optimizers.register("adamw")
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with w ← (1 − η λ) w before each update (Loshchilov and Hutter, 2019).

    λ is `weight_decay`, which adds nothing to the loss.
    """

    decoupled: ClassVar = True
    weight_decay: float = 0.01
