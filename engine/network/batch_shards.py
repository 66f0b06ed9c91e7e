"""A batch cut into shards of rows, one for each thread, that go through the layers side by side.

Every layer works on the rows of a shard as on a batch of its own, in rows of the same buffers;
where it must know the whole batch, as batch normalisation does, it asks its scope for a total. BLAS
has one thread for each shard meanwhile: the shards are the threads.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Final

from engine.backends.base import Array
from engine.backends.threads import Barrier
from engine.layers.base import Bound, Scope, Shard

if TYPE_CHECKING:
    from engine.network.bound_network import BoundNetwork

ROWS: Final = 256
"""Rows of products from which on a shard is as fast as the threads of BLAS with a whole batch.

An example has one, an image one for each place of a layer's output.
"""
ELEMENTS: Final = 1 << 21
"""Outputs of all layers over the batch from which on a step takes longer than what shards cost: a
millisecond of waking, waiting and telling BLAS."""


class Shards:
    """The layers of a network, bound once more for the rows of each thread."""

    def __init__(self, network: "BoundNetwork", scopes: Sequence[Scope]) -> None:
        """`scopes` are what the layers of `network` were bound into."""
        from threadpoolctl import ThreadpoolController  # 7 ms, which one thread need not wait for

        crew, batch = network.backend.crew, network.batch_shape[0]
        self._network, self._crew, self._meeting = network, crew, Barrier(crew.size)
        self._rows = crew.parts(batch, 1)
        self._blas = ThreadpoolController().select(user_api="blas")
        self._members = [
            [self._bind(at, scope, rank) for at, scope in enumerate(scopes)]
            for rank in range(len(self._rows))
        ]
        self._units = [crew.parts(bound.output.shape[-1], 1) for bound in network.bound]

    @staticmethod
    def fit(network: "BoundNetwork") -> bool:
        """Tell whether shards of the batch are worth their threads, and what all layers can do."""
        crew, batch = network.backend.crew, network.batch_shape[0]
        shapes = network.shapes[1:]
        rows = batch * max(prod(shape[:-1]) for shape in shapes)
        elements = batch * sum(prod(shape) for shape in shapes)
        by_rows = all(layer.by_rows for layer in network.network.layers)
        large = rows >= crew.size * ROWS and elements >= ELEMENTS
        return 1 < crew.size <= batch and large and by_rows

    def _bind(self, at: int, scope: Scope, rank: int) -> tuple[Bound, Sequence[Array]]:
        """Bind layer `at` for a shard; return it with its own part of the gradients."""
        network, deferred = self._network, self._network.bound[at].shares_units
        gradients = dict(scope.gradients)
        if rank and not deferred:
            gradients = {
                name: network.backend.empty(array.shape) for name, array in gradients.items()
            }
        shard = Shard(rank, self._rows[rank], scope, self._meeting)
        bound = network.network.layers[at].bind(network.shapes[at], scope.of(shard, gradients))
        bound.deferred = deferred
        return bound, [] if deferred else [*gradients.values()]

    def forward(self, x: Array, training: bool) -> Array:
        """x (batch, *features) → scores (batch, classes)."""
        self._input = x

        def go(rank: int) -> None:
            row = self._members[rank]
            reduce(lambda y, member: member[0].forward(y, training), row, x[self._rows[rank]])

        self._run(go)
        return self._network.bound[-1].output

    def backward(self, dscores: Array) -> None:
        """Fill the gradients of all parameters from dL/dscores."""
        network = self._network
        first = network.network.first_weighted

        def go(rank: int) -> None:
            row = self._members[rank][first:]
            dy = dscores[self._rows[rank]]
            reduce(lambda dy, member: member[0].backward(dy), reversed(row), dy)
            self._meeting.wait(rank)
            for at, units in enumerate(self._units):
                if network.bound[at].shares_units and rank < len(units):
                    x, dy = network.input_of(at, self._input), network.output_gradient(at, dscores)
                    network.bound[at].weight_gradient(x, dy, units[rank])

        self._run(go)
        for members in zip(*(row[first:] for row in self._members), strict=True):
            for mine, *others in zip(*(gradients for _, gradients in members), strict=True):
                for other in others:
                    network.backend.xp.add(mine, other, out=mine)

    def _run(self, go: Callable[[int], None]) -> None:
        """Let every thread go, and none wait at the meeting for one that failed."""

        def safely(rank: int) -> None:
            try:
                go(rank)
            except BaseException as error:
                self._meeting.call_off(error)
                raise

        with self._blas.limit(limits=1):
            try:
                ranks = [(rank,) for rank in range(len(self._rows))]
                self._crew.run(safely, ranks, self._meeting.call_off)
            except BaseException:
                self._meeting.clear()
                raise
