"""Layers whose parameters stay as they are, whatever an optimiser does."""

from collections.abc import Collection, Mapping

from engine.backends.base import Array
from engine.network import BoundNetwork


class Frozen:
    """The parameters of frozen layers, and what the optimiser remembers of them.

    Before an update `keep` copies them and takes their gradients out, so that clipping goes by what
    learns; after it `put_back` undoes what decay, momentum or a limit made of them. So no optimiser
    has to know of it, and none can leave a trace. The running averages of a normalisation are no
    parameters: they go on following the data.
    """

    def __init__(
        self, network: BoundNetwork, layers: Collection[int], state: Mapping[str, Array]
    ) -> None:
        """Freeze `layers`, from 1; `state` is the optimiser's."""
        self._xp, store = network.backend.xp, network.store
        like_parameters = [a for a in state.values() if a.shape == store.values.shape]
        held = network.network.positions(layers)
        flat = [store.views(array) for array in (store.values, *like_parameters)]
        live = [view for views in flat for at in held for view in views[at].values()]
        self._held = [(view, network.backend.empty(view.shape)) for view in live]
        self._gradients = [g for at in held for g in store.gradient_views[at].values()]

    def __bool__(self) -> bool:
        """Whether any layer is frozen."""
        return bool(self._held)

    def keep(self) -> None:
        """Copy what shall stay, and set its gradients to zero."""
        for view, copy in self._held:
            self._xp.copyto(copy, view)
        for gradient in self._gradients:
            gradient.fill(0)

    def put_back(self) -> None:
        """Make everything what it was when it was kept."""
        for view, copy in self._held:
            self._xp.copyto(view, copy)
