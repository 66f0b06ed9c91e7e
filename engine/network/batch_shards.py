"""A batch cut into shards of rows, one per thread, that go through the layers side by side.

Every layer works on the rows of a shard as on a batch of its own, in rows of the same buffers.
Where it needs the whole batch, as batch normalisation does, it asks its scope for a total. BLAS has
one thread per shard meanwhile: the shards are the threads.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Final

from engine.backends.base import Array
from engine.backends.threads import Barrier
from engine.layers.base import Bound, Layer, Scope, Shape, Shard

ROWS: Final = 256
"""Rows of products per thread above which a shard is as fast as the threads of BLAS with the whole
batch. An example has one row, an image one for each place of a layer's output."""
ELEMENTS: Final = 1 << 21
"""Outputs of all layers over the batch above which a step takes longer than shards cost: a
millisecond of waking threads, waiting, and limiting the threads of BLAS."""


def bind_shards(
    layers: Sequence[Layer],
    shapes: Sequence[Shape],
    bound: Sequence[Bound],
    scopes: Sequence[Scope],
) -> "Shards | None":
    """Return the shards of a bound row of layers; None where they are not worth their threads.

    `shapes` are those before each layer and after the last, without the batch axis. `bound` are the
    layers over the whole batch, and `scopes` what they were bound into.
    """
    team, batch = scopes[0].backend.thread_team, scopes[0].batch
    rows = batch * max(prod(shape[:-1]) for shape in shapes[1:])
    elements = batch * sum(prod(shape) for shape in shapes[1:])
    large = rows >= team.size * ROWS and elements >= ELEMENTS
    if 1 < team.size <= batch and large and all(layer.by_rows for layer in layers):
        return Shards(layers, shapes, bound, scopes)
    return None


class Shards:
    """A row of layers, bound once more for the rows of each thread."""

    def __init__(
        self,
        layers: Sequence[Layer],
        shapes: Sequence[Shape],
        bound: Sequence[Bound],
        scopes: Sequence[Scope],
    ) -> None:
        """See `bind_shards`, which decides whether to make them."""
        from threadpoolctl import ThreadpoolController  # takes 7 ms: not where one thread works

        self._backend, batch = scopes[0].backend, scopes[0].batch
        self._team = team = self._backend.thread_team
        self._barrier = Barrier(team.size)
        self._rows = team.parts(batch, 1)
        self._blas = ThreadpoolController().select(user_api="blas")
        self._whole = bound
        self._first_trained = next(at for at, scope in enumerate(scopes) if scope.parameters)
        self._members = [
            [
                self._bind(layer, x, scope, whole, rank)
                for layer, x, scope, whole in zip(layers, shapes, scopes, bound, strict=False)
            ]
            for rank in range(len(self._rows))
        ]
        self._units = [team.parts(whole.output.shape[-1], 1) for whole in bound]

    def _bind(
        self, layer: Layer, x: Shape, scope: Scope, whole: Bound, rank: int
    ) -> tuple[Bound, Sequence[Array]]:
        """Bind a layer for one shard; return it with its own part of the gradients."""
        deferred = whole.shares_units
        gradients = dict(scope.gradients)
        if rank and not deferred:
            gradients = {
                name: self._backend.empty(array.shape) for name, array in gradients.items()
            }
        shard = Shard(rank, self._rows[rank], scope, self._barrier)
        bound = layer.bind(x, scope.of(shard, gradients))
        bound.deferred = deferred
        return bound, [] if deferred else [*gradients.values()]

    def forward(self, x: Array, training: bool) -> Array:
        """x (batch, *features) → scores (batch, classes)."""
        self._input = x

        def go(rank: int) -> None:
            row = self._members[rank]
            reduce(lambda y, member: member[0].forward(y, training), row, x[self._rows[rank]])

        self._run(go)
        return self._whole[-1].output

    def backward(self, dscores: Array) -> None:
        """Fill the gradients of all parameters from dL/dscores."""
        first = self._first_trained
        inputs = [self._input, *(layer.output for layer in self._whole[:-1])]
        output_gradients = [*(layer.input_gradient for layer in self._whole[1:]), dscores]
        row = [*zip(self._whole, self._units, inputs, output_gradients, strict=True)]

        def go(rank: int) -> None:
            members = self._members[rank][first:]
            dy = dscores[self._rows[rank]]
            reduce(lambda dy, member: member[0].backward(dy), reversed(members), dy)
            self._barrier.wait(rank)
            for layer, units, x, dy in row:
                if layer.shares_units and rank < len(units):
                    layer.weight_gradient(x, dy, units[rank])

        self._run(go)
        for members in zip(*(row[first:] for row in self._members), strict=True):
            for mine, *others in zip(*(gradients for _, gradients in members), strict=True):
                for other in others:
                    self._backend.xp.add(mine, other, out=mine)

    def _run(self, go: Callable[[int], None]) -> None:
        """Run go(rank) in every thread; where one fails, none waits at the barrier for it."""

        def safely(rank: int) -> None:
            try:
                go(rank)
            except BaseException as error:
                self._barrier.call_off(error)
                raise

        with self._blas.limit(limits=1):
            try:
                ranks = [(rank,) for rank in range(len(self._rows))]
                self._team.run(safely, ranks, self._barrier.call_off)
            except BaseException:
                self._barrier.clear()
                raise
