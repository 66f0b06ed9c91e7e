"""A training step as a plan: gather, forward, loss, backward, update.

Linear layers, activations, batch normalisation, losses and optimisers have kernels, which tests
compare with the engine's formulas. All other layers run their own code in an EagerCall.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.activations import Activation, Identity
from engine.backends.base import Array, Backend
from engine.cuda_graph import launches
from engine.cuda_graph.launcher import Launcher
from engine.cuda_graph.plan import EagerCall, Item, Join, Launch, Product
from engine.cuda_graph.sources import SCALARS
from engine.errors import NotPlannedError
from engine.layers.batch_norm import BatchNorm
from engine.layers.linear import Linear
from engine.layers.nonlinearity import Nonlinearity
from engine.network.parameters import Views
from engine.optimization.hyperparameters import Hyperparameters
from engine.optimization.optimizers import SGD, AdaGrad, Adam, AdamW, Nesterov, Optimizer, RMSProp
from engine.training.training_step import TrainingStep

MOST_ROWS: Final = 4096
"""Rows up to which batch normalisation has a kernel: a single block reads all rows of a column.
With more rows, as for images, the layer's own code is faster."""
CONCURRENT: Final = 1 << 27
"""Multiplications below which the product of a weight gradient runs concurrently; a larger product
fills the device by itself."""
MOST_ELEMENTS: Final = 1 << 30
"""Size of an array that a step may not reach: kernels count in 32 bits, and one stride further."""
OPTIMIZERS: Final[dict[type[Optimizer], tuple[str, tuple[str, ...]]]] = {
    SGD: ("sgd", ("velocity",)),
    Nesterov: ("nesterov", ("velocity",)),
    AdaGrad: ("adagrad", ("squares",)),
    RMSProp: ("rmsprop", ("squares", "velocity")),
    Adam: ("adam", ("mean", "squares")),
    AdamW: ("adam", ("mean", "squares")),
}
"""The kernel of each optimiser and the state arrays that it takes."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The optional parts of a step, each combination of which is a plan; strengths are scalars."""

    penalty: bool
    clip_norm: bool
    max_norm: bool

    @classmethod
    def of(cls, hyper: Hyperparameters, optimizer: Optimizer) -> "Switches":
        """Return the switches: a part is on if its strength or limit is not 0."""
        decay = bool(hyper["weight_decay"]) and not optimizer.decoupled
        return cls(decay or bool(hyper["l1"]), bool(hyper["clip_norm"]), bool(hyper["max_norm"]))


def scalars_of(hyper: Hyperparameters, optimizer: Optimizer, updates: int) -> list[float]:
    """Return the scalars of update number `updates` (from 1), in the order of SCALARS."""
    values: dict[str, float] = {**hyper, "rate": hyper.rate, "root": 1.0, "shrink": 1.0}
    if isinstance(optimizer, Adam):
        values["rate"] /= 1 - hyper["beta1"] ** updates
        values["root"] = (1 - hyper["beta2"] ** updates) ** 0.5
    if optimizer.decoupled:
        values["shrink"] = 1 - hyper.rate * hyper["weight_decay"]
        values["weight_decay"] = 0.0
    return [values.get(name, 0.0) for name in SCALARS]


class Memory:
    """The arrays on the device that a step uses in addition to those of the network."""

    def __init__(self, backend: Backend, batch: int) -> None:
        self.packet = launches.zeros(backend, len(SCALARS) + batch, np.float64)
        """All that a step gets from the host: the scalars, and as int64 the rows of the batch."""
        self.scalars = self.packet[: len(SCALARS)]
        self.rows = self.packet[len(SCALARS) :].view(np.int64)
        self.result = launches.zeros(backend, 3, np.float64)
        """Loss, data loss, accuracy."""
        self.alive = launches.zeros(backend, 1, np.int32)
        """0 once a loss was not finite: from then on, no kernel changes any parameter."""
        self.factor = launches.zeros(backend, 1, np.float64)
        """The factor of the gradient if its norm is clipped; otherwise, the factor is `one`."""
        self.one = launches.zeros(backend, 1, np.float64)
        self.one.fill(1)


class StepPlan:
    """Lists the items of a training step.

    Raises NotPlannedError with the reason for a step that needs the host before its end.
    """

    def __init__(self, step: TrainingStep, memory: Memory, launcher: Launcher) -> None:
        self._step, self._memory = step, memory
        self._layers, self._bound = step.network.network.layers, step.network.bound
        self._first_trained = step.network.first_trained
        self._store, self._backend = step.network.store, step.network.backend
        _refuse(step)
        tracked = step.probes.dead_units.tracked if step.probes is not None else ()
        self._highest = launches.highest_outputs(
            tracked, memory.alive, self._backend, launcher.pointer
        )
        self._norms = {at: self._normalization(at) for at in range(len(self._layers))}
        self._averages = self._backend.empty(self._store.state.shape)  # a copy from before the step

    def gradients(self, switches: Switches) -> Iterator[Item]:
        """Yield the items that gather the batch and compute the result and all gradients."""
        step, memory = self._step, self._memory
        yield launches.gather(step.x, step.y, memory.rows, step.batch_x, step.batch_y)
        state, before, xp = self._store.state, self._averages, self._backend.xp
        eager_averages = any(
            views and self._norms[at] is None for at, views in enumerate(self._store.state_views)
        )
        if eager_averages:  # an EagerCall updates them even if `alive` is 0
            yield EagerCall("running averages → before", lambda: xp.copyto(before, state))
        for position in range(len(self._layers)):
            yield from self._forward(position)
        if eager_averages:
            yield launches.over_flat("restore_averages", state.size, state, before, memory.alive)
        arrays = self._bound[-1].output, step.batch_y, step.score_gradient
        yield launches.loss(step.loss_kind, arrays, memory.result, memory.alive, self._backend)
        for position in reversed(range(self._first_trained, len(self._layers))):
            yield from self._backward(position)
        yield Join()
        if switches.penalty:
            yield self._penalty()
        if self._highest is not None:
            yield self._highest

    def update(self, switches: Switches) -> Iterator[Item]:
        """Yield the items that clip the gradients, update the parameters and limit their norm."""
        memory = self._memory
        if switches.clip_norm:
            yield self._clip_norm()
        yield self._optimize(memory.factor if switches.clip_norm else memory.one)
        if switches.max_norm:
            for weight in self._store.weights:
                yield launches.max_norm(weight, memory.scalars, memory.alive)

    def _forward(self, position: int) -> Iterator[Item]:
        layer, bound = self._layers[position], self._bound[position]
        x = self._step.network.input_of(position, self._step.batch_x)
        views = self._store.value_views
        if type(layer) is Linear:
            yield Product(x, views[position]["weight"], bound.output)
            if (bias := self._own_bias(position, views)) is not None:
                yield launches.activate(Identity(), bound.output, bias, bound.output)
        elif (activation := self._fused(position)) is not None:
            yield launches.activate(activation, x, self._bias_below(position, views), bound.output)
        elif isinstance(layer, BatchNorm) and (norm := self._norms[position]) is not None:
            arrays = x, *_in_order(views[position], "gamma", "beta"), bound.output
            averages = _in_order(self._store.state_views[position], "running_mean", "running_var")
            yield norm.forward(layer, arrays, averages, self._memory.alive)
        else:
            name = f"{layer.kind}, layer {position + 1}, forward"
            yield EagerCall(name, lambda: bound.forward(x, True))

    def _backward(self, position: int) -> Iterator[Item]:
        layer, bound = self._layers[position], self._bound[position]
        x = self._step.network.input_of(position, self._step.batch_x)
        dy = self._step.network.output_gradient(position, self._step.score_gradient)
        views, backend = self._store.gradient_views, self._backend
        if type(layer) is Linear:
            if (bias := self._own_bias(position, views)) is not None:
                yield launches.activate_backward(Identity(), (dy, dy, dy, dy), bias, backend)
            gradient = views[position]["weight"]
            concurrent = len(x) * gradient.size < CONCURRENT
            yield Product(x, dy, gradient, transpose_a=True, concurrent=concurrent)
            if position > self._first_trained:
                weight = self._store.value_views[position]["weight"]
                yield Product(dy, weight, bound.input_gradient, transpose_b=True)
        elif (activation := self._fused(position)) is not None:
            arrays = x, bound.output, dy, bound.input_gradient
            bias = self._bias_below(position, views)
            yield launches.activate_backward(activation, arrays, bias, backend)
        elif (norm := self._norms[position]) is not None:
            gamma = self._store.value_views[position]["gamma"]
            gradients = bound.input_gradient, *_in_order(views[position], "gamma", "beta")
            yield norm.backward((x, dy, gamma), gradients)
        else:
            name = f"{layer.kind}, layer {position + 1}, backward"
            yield EagerCall(name, lambda: bound.backward(dy))

    def _fused(self, position: int) -> Activation | None:
        """Return the activation of that layer if it has a kernel."""
        layer = self._layers[position] if position < len(self._layers) else None
        if not isinstance(layer, Nonlinearity):
            return None
        return layer.activation if launches.activation_kernel(layer.activation) else None

    def _normalization(self, position: int) -> launches.Normalization | None:
        """Return the launches of that layer if it is a batch normalisation that has kernels."""
        layer, output = self._layers[position], self._bound[position].output
        if type(layer) is not BatchNorm or output.size // output.shape[-1] > MOST_ROWS:
            return None
        units = output.shape[-1:]
        return launches.Normalization(self._backend.empty(units), self._backend.empty(units))

    def _own_bias(self, position: int, views: Sequence[Views]) -> Array | None:
        """Return the bias of a linear layer unless the activation after it adds the bias."""
        return None if self._fused(position + 1) else views[position].get("bias")

    def _bias_below(self, position: int, views: Sequence[Views]) -> Array | None:
        """Return the bias of the layer before if that is linear."""
        linear = position > 0 and type(self._layers[position - 1]) is Linear
        return views[position - 1].get("bias") if linear else None

    def _penalty(self) -> Launch:
        store, memory = self._store, self._memory
        return launches.over_flat(
            "penalty",
            store.decaying,
            *(store.values, store.gradients, memory.scalars),
            *launches.summing(self._backend, store.decaying),
            *(memory.result, memory.alive),
        )

    def _clip_norm(self) -> Launch:
        gradients, memory = self._store.gradients, self._memory
        scratch = launches.summing(self._backend, gradients.size)
        return launches.over_flat(
            "clip_norm", gradients.size, gradients, memory.scalars, *scratch, memory.factor
        )

    def _optimize(self, factor: Array) -> Launch:
        store, memory = self._store, self._memory
        kernel, names = OPTIMIZERS[type(self._step.optimizer_kind)]
        state = [self._step.optimizer.state[name] for name in names]
        decaying = (np.int32(store.decaying),) if kernel == "adam" else ()
        launch = launches.over_flat(
            kernel,
            store.values.size,
            *(store.values, store.gradients, *state),
            *(memory.scalars, factor, memory.alive),
        )
        return Launch(kernel, launch.grid, launch.block, (*launch.arguments, *decaying))


def _in_order(views: Views, *names: str) -> list[Array]:
    return [views[name] for name in names]


def _refuse(step: TrainingStep) -> None:
    """Raise NotPlannedError for a step that cannot be planned."""
    store = step.network.store
    reasons = {
        "images are augmented on the host": step.augments,
        "dropout draws its masks on the host": "dropout" in step.hyper,
        "layers are frozen": bool(step.frozen),
        f"{type(step.loss_kind).__name__} has no kernel": (
            type(step.loss_kind) not in launches.LOSSES
        ),
        f"{type(step.optimizer_kind).__name__} has no kernel": (
            type(step.optimizer_kind) not in OPTIMIZERS
        ),
        "the labels are not int64": step.y.dtype != np.int64,
        f"an array has {MOST_ELEMENTS:,} elements or more": max(
            store.values.size,
            step.batch_x.size,
            *(bound.output.size for bound in step.network.bound),
        )
        >= MOST_ELEMENTS,
    }
    for reason, holds in reasons.items():
        if holds:
            raise NotPlannedError(reason)
