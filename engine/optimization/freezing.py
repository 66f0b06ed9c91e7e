"""Layers whose parameters no optimiser changes."""

from collections.abc import Collection, Mapping

from engine.backends.base import Array
from engine.network import BoundNetwork


class Frozen:
    """The parameters of frozen layers, and the optimiser's state for them.

    Before an update, `keep` copies them and sets their gradients to zero, so that clipping
    considers only what learns. After it, `put_back` undoes the effect of decay, momentum or a
    limit. No optimiser needs to know about frozen layers. The running averages of a normalisation
    are not parameters and still follow the data.
    """

    def __init__(
        self, network: BoundNetwork, layers: Collection[int], state: Mapping[str, Array]
    ) -> None:
        """Freeze `layers` (by index, from 1); `state` is the optimiser's."""
        self._xp, store = network.backend.xp, network.store
        like_parameters = [a for a in state.values() if a.shape == store.values.shape]
        frozen = network.network.positions(layers)
        flat = [store.views(array) for array in (store.values, *like_parameters)]
        live = [view for views in flat for at in frozen for view in views[at].values()]
        self._copies = [(view, network.backend.empty(view.shape)) for view in live]
        self._gradients = [g for at in frozen for g in store.gradient_views[at].values()]

    def __bool__(self) -> bool:
        """Whether any layer is frozen."""
        return bool(self._copies)

    def keep(self) -> None:
        """Copy the frozen arrays and set their gradients to zero."""
        for view, copy in self._copies:
            self._xp.copyto(copy, view)
        for gradient in self._gradients:
            gradient.fill(0)

    def put_back(self) -> None:
        """Restore the frozen arrays from the copies."""
        for view, copy in self._copies:
            self._xp.copyto(view, copy)
