"""The loss of a program that does not log it: the tensor on which `backward` was called."""

import weakref
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, Final

import torch

Listener = Callable[[torch.Tensor, torch.Tensor | None], None]
"""Takes a loss whose gradient was computed, and by what a GradScaler has multiplied it."""
SCALED: Final = 16  # scaled losses that are remembered until their backward pass


class BackwardTap:
    """Calls its listeners for each `backward`, and for each step that a GradScaler skips.

    It replaces `torch.autograd.backward`, through which `Tensor.backward` goes as well, and two
    methods of GradScaler, while there are listeners.
    """

    def __init__(self) -> None:
        self.steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """How many steps watched optimisers have begun."""
        self._listeners: list[tuple[Listener, Callable[[], None]]] = []
        self._originals: dict[str, Any] = {}
        self._scaled: list[tuple[weakref.ref[torch.Tensor], torch.Tensor, Any]] = []

    def add(self, listener: Listener, skipped: Callable[[], None]) -> None:
        """Call `listener` for each backward pass, `skipped` for each skipped step."""
        if not self._listeners:
            self._install()
        self._listeners.append((listener, skipped))

    def remove(self, listener: Listener) -> None:
        """Call a listener no more."""
        self._listeners = [pair for pair in self._listeners if pair[0] != listener]
        if not self._listeners and self._originals:
            self._uninstall()

    def _install(self) -> None:
        scaler = torch.amp.GradScaler
        self._originals = {
            "backward": torch.autograd.backward,
            "scale": scaler.scale,
            "step": scaler.step,
        }
        backward, scale, step = self._originals.values()
        tap = self

        def watched_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            tap._heard(tensors)  # before, because an optimiser may step inside
            return backward(tensors, *args, **kwargs)

        def watched_scale(scaler: Any, outputs: Any) -> Any:
            result = scale(scaler, outputs)
            tap._remember(scaler, outputs, result)
            return result

        def watched_step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = tap.steps.get(optimizer)
            result = step(scaler, optimizer, *args, **kwargs)
            if before is not None and tap.steps.get(optimizer) == before:
                for _, skipped in tap._listeners:
                    skipped()
            return result

        for replaced, original in (
            (watched_backward, backward), (watched_scale, scale), (watched_step, step),
        ):  # fmt: skip
            update_wrapper(replaced, original)
        torch.autograd.backward = watched_backward
        scaler.scale, scaler.step = watched_scale, watched_step

    def _uninstall(self) -> None:
        """Put the originals back, unless somebody else has replaced them since."""
        scaler = torch.amp.GradScaler
        for owner, name in ((torch.autograd, "backward"), (scaler, "scale"), (scaler, "step")):
            if getattr(getattr(owner, name), "__wrapped__", None) is self._originals[name]:
                setattr(owner, name, self._originals[name])
        self._originals = {}
        self._scaled = []

    def _remember(self, scaler: Any, outputs: Any, scaled: Any) -> None:
        if isinstance(outputs, torch.Tensor) and scaled is not outputs and scaler.is_enabled():
            entry = weakref.ref(scaled), outputs.detach(), scaler._scale
            self._scaled = [*self._scaled[-SCALED:], entry]

    def _heard(self, tensors: torch.Tensor | Sequence[torch.Tensor]) -> None:
        if torch._C._current_graph_task_id() != -1:
            return  # of a checkpoint, inside of the backward pass of the loss
        for tensor in (tensors,) if isinstance(tensors, torch.Tensor) else tensors:
            loss, scale = tensor.detach(), None
            for entry in self._scaled:
                if entry[0]() is tensor:
                    loss, scale = entry[1], entry[2]
            for listener, _ in self._listeners:
                listener(loss, scale)


TAP: Final = BackwardTap()
