"""A network bound to its parameters and to buffers for one batch shape."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from engine.backends.base import Array, Backend
from engine.layers.base import Bound, Scope, Shape
from engine.network.batch_shards import Shards, bind_shards
from engine.network.network import Network
from engine.network.parameters import ParameterStore, allocate


@dataclass(frozen=True)
class BoundNetwork:
    """A network over its arrays, for one batch shape; `rebind` binds another over the same."""

    network: Network
    batch_shape: Shape
    backend: Backend
    store: ParameterStore
    hyper: MutableMapping[str, float]
    noise: np.random.Generator
    backwards: bool = True
    shapes: list[Shape] = field(init=False)
    """Before each layer, and after the last."""
    first_trained: int = field(init=False)
    """Position of the first layer with parameters; those before it need no gradient."""
    bound: list[Bound] = field(init=False)
    shards: Shards | None = field(init=False)
    """The same layers for parts of the batch, which threads run in place of `bound` if it pays."""

    @classmethod
    def of(
        cls,
        network: Network,
        batch_shape: Shape,
        backend: Backend,
        *,
        generator: np.random.Generator,
        hyper: MutableMapping[str, float] | None = None,
        noise: np.random.Generator | None = None,
    ) -> "BoundNetwork":
        """Draw the parameters and bind buffers for inputs of `batch_shape` (batch, *features).

        Layers read what may change while training from `hyper`, to which they add their own, and
        draw masks from `noise`. Raises ShapeError.
        """
        shapes = network.shapes(batch_shape[1:])
        pairs = list(zip(network.layers, shapes, strict=False))
        store = allocate(
            [layer.parameters(x) for layer, x in pairs],
            [layer.state(x) for layer, x in pairs],
            backend,
            generator,
        )
        return cls(
            network,
            batch_shape,
            backend,
            store,
            {} if hyper is None else hyper,
            np.random.default_rng(0) if noise is None else noise,
        )

    def __post_init__(self) -> None:
        shapes = self.network.shapes(self.batch_shape[1:])
        first = next(at for at, named in enumerate(self.store.layout) if named)
        scopes = [
            Scope(
                self.backend,
                self.batch_shape[0],
                self.store.value_views[position],
                self.store.gradient_views[position],
                self.store.state_views[position],
                self.backwards and position >= first,
                needs_input_gradient=position > first or not layer.weighted,
                hyper=self.hyper,
                noise=self.noise,
            )
            for position, layer in enumerate(self.network.layers)
        ]
        triples = zip(self.network.layers, shapes, scopes, strict=False)
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "first_trained", first)
        bound = [layer.bind(x, scope) for layer, x, scope in triples]
        object.__setattr__(self, "bound", bound)
        shards = bind_shards(self.network.layers, shapes, bound, scopes)
        object.__setattr__(self, "shards", shards)

    def rebind(self, batch: int, *, backwards: bool = False) -> "BoundNetwork":
        """Bind the same parameters for another batch size, by default for evaluation only."""
        shape = (batch, *self.batch_shape[1:])
        return replace(self, batch_shape=shape, backwards=backwards)

    def input_of(self, position: int, x: Array) -> Array:
        """Return the input of a layer when that of the network is x (batch, *features)."""
        return self.bound[position - 1].output if position else x

    def output_gradient(self, position: int, dscores: Array) -> Array:
        """Return dL/dy of a layer; that of the last is dL/dscores."""
        at_end = position + 1 == len(self.bound)
        return dscores if at_end else self.bound[position + 1].input_gradient

    @contextmanager
    def undisturbed(self, *, averages: bool = True) -> Iterator[None]:
        """Restore the noise stream at the end, and with `averages` the running averages."""
        generator, state = self.noise.bit_generator, self.store.state
        noise_before, state_before = generator.state, state.copy()
        try:
            yield
        finally:
            generator.state = noise_before
            if averages:
                state[...] = state_before

    def forward(self, x: Array, training: bool) -> Array:
        """Return the scores (batch, classes) of x (batch, *features)."""
        if self.shards is not None:
            return self.shards.forward(x, training)
        for layer in self.bound:
            x = layer.forward(x, training)
        return x

    def backward(self, dscores: Array) -> None:
        """Fill the gradients of all parameters from dL/dscores."""
        if self.shards is not None:
            self.shards.backward(dscores)
            return
        dy = dscores
        for layer in reversed(self.bound[self.first_trained :]):
            dy = layer.backward(dy)
