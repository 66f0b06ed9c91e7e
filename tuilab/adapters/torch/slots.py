"""Slots for the statistics of tensors, wherever these are."""

from typing import Any

import torch

from tuilab.adapters.torch.tensors import HostSlots, Pending


class TensorSlots:
    """Slots whose tensors may be in main memory or on devices; see `HostSlots`."""

    def __init__(self) -> None:
        self._number = 0
        self._host = HostSlots()

    def new(self) -> int:
        """Return a new slot."""
        self._number += 1
        return self._number - 1

    def filled(self, slot: int) -> bool:
        """Return whether a slot was filled in this step."""
        return self._host.filled(slot)

    def measure(self, slot: int, tensor: torch.Tensor, **options: Any) -> None:
        self._host.measure(slot, tensor, **options)

    def copy_of(self, parameter):
        return self._host.copy_of(parameter)

    def clear(self, slot):
        self._host.clear(slot)

    def copy(self, source, target):
        self._host.copy(source, target)

    def divide(self, slot, scale):
        self._host.divide(slot, scale)

    def see_units(self, row, output, **options):
        self._host.see_units(row, output, **options)

    def see_asymmetry(self, row, weight):
        self._host.see_asymmetry(row, weight)

    def signed_rows(self, x):
        return self._host.signed_rows(x)

    def see_signs(self, row, signed, gradient):
        self._host.see_signs(row, signed, gradient)

    def take(self) -> Pending:
        return self._host.take(self._number)
