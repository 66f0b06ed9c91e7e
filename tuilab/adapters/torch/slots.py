"""Slots for the statistics of tensors, wherever these are."""

import sys
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from engine.statistics.arrays import Bounds
from tuilab.adapters.torch.device_slots import DeviceSlots
from tuilab.adapters.torch.tensors import COUNT, UNBOUNDED, HostSlots, Pending, Statistics

PLAIN: Final = (torch.Tensor, torch.nn.Parameter)
Slots: TypeAlias = HostSlots | DeviceSlots


class TensorSlots:
    """Slots whose tensors may be in main memory or on devices; see `HostSlots`.

    A slot belongs to one device in a step. Tensors on "meta" have no values and are not measured.
    """

    def __init__(self) -> None:
        self._number = 0
        self._by_device: dict[torch.device, Slots] = {}
        self._filled: dict[int, Slots] = {}  # in this step
        self.sharded: set[int] = set()
        """Slots whose tensors are divided between ranks: each measures its own part."""

    def new(self) -> int:
        """Return a new slot."""
        self._number += 1
        return self._number - 1

    def on(self, device: torch.device) -> Slots:
        """Return the slots of a device."""
        slots = self._by_device.get(device)
        if slots is None:
            slots = HostSlots() if device.type == "cpu" else DeviceSlots(device)
            self._by_device[device] = slots
        return slots

    def filled(self, slot: int) -> bool:
        """Return whether a slot was filled in this step."""
        return slot in self._filled

    def measure(
        self,
        slot: int,
        tensor: torch.Tensor,
        *,
        bounds: Bounds = UNBOUNDED,
        saturation: tuple[float, float] | None = None,
        before: torch.Tensor | None = None,
    ) -> None:
        """Add the values of a tensor to a slot; with `before`, those of tensor − before.

        `before` comes from `copy_of`.
        """
        if type(tensor) not in PLAIN:
            part = own_part(tensor)
            if part is None:
                return
            tensor, sharded = part
            if sharded:
                self.sharded.add(slot)
        if tensor.is_meta:
            return
        slots = self._filled[slot] = self.on(tensor.device)
        slots.measure(slot, tensor, bounds=bounds, saturation=saturation, before=before)

    def copy_of(self, parameter: torch.Tensor) -> torch.Tensor:
        """Return a copy of a parameter, for `measure` in this step."""
        part = own_part(parameter)
        parameter = parameter if part is None else part[0]
        return parameter if parameter.is_meta else self.on(parameter.device).copy_of(parameter)

    def clear(self, slot: int) -> None:
        """Forget what was measured in this step."""
        if (slots := self._filled.pop(slot, None)) is not None:
            slots.clear(slot)

    def copy(self, source: int, target: int) -> None:
        """Let a slot have the statistics of another in this step."""
        if (slots := self._filled.get(source)) is not None:
            self._filled[target] = slots
            slots.copy(source, target)

    def divide(self, slot: int, scale: float | torch.Tensor) -> None:
        """Divide the values of a slot by a scale above 0."""
        if (slots := self._filled.get(slot)) is not None:
            slots.divide(slot, scale)

    def see_units(
        self,
        row: Hashable,
        output: torch.Tensor,
        *,
        channels_first: bool = False,
        floor: float | None = None,
        saturation: tuple[float, float] | None = None,
    ) -> None:
        """Measure the units of a layer in its output (examples, *places, units)."""
        part = own_part(output)
        if part is not None and not part[0].is_meta:
            output = part[0]
            self.on(output.device).see_units(
                row, output, channels_first=channels_first, floor=floor, saturation=saturation
            )

    def see_asymmetry(self, row: Hashable, weight: torch.Tensor) -> None:
        """Measure how unlike the units of a weight (units, inputs, *window) are."""
        part = own_part(weight)
        if part is not None and not part[1] and not part[0].is_meta:
            weight = part[0]
            self.on(weight.device).see_asymmetry(row, weight)

    def signed_rows(self, x: torch.Tensor) -> Any:
        """Return which examples of the inputs (*examples, features) of a layer have one sign."""
        part = own_part(x)
        if part is None or part[0].is_meta:
            return None
        return self.on(part[0].device).signed_rows(part[0])

    def see_signs(self, row: Hashable, signed: Any, gradient: torch.Tensor) -> None:
        """Measure the share of weight gradients with one sign; `signed` is of `signed_rows`."""
        part = own_part(gradient)
        if signed is not None and part is not None and len(part[0]):
            self.on(part[0].device).see_signs(row, signed, part[0])

    def take(self) -> Pending:
        """Return what was measured since the last call, and begin a new step."""
        number = self._number
        pending = [slots.take(number) for slots in self._by_device.values()]
        self._filled.clear()
        if len(pending) == 1:
            return pending[0]
        return Pending(
            lambda: _together(number, [of_device.result() for of_device in pending]),
            lambda: all(of_device.ready() for of_device in pending),
        )


def own_part(tensor: torch.Tensor) -> tuple[torch.Tensor, bool] | None:
    """Return what this rank has of a tensor, and whether other ranks have other parts of it.

    None where its values are sums that were not added up yet, or another rank has the same part:
    then that one counts. So sums over all ranks are those of the whole tensor.
    """
    package = sys.modules.get("torch.distributed.tensor")
    if package is None or not isinstance(tensor, package.DTensor):
        return tensor, False
    placements = tensor.placements
    if any(placement.is_partial() for placement in placements):
        return None
    sharded = any(placement.is_shard() for placement in placements)
    where = tensor.device_mesh.get_coordinate() or []
    repeated = any(
        at and not placement.is_shard() for at, placement in zip(where, placements, strict=False)
    )
    return None if sharded and repeated else (tensor.detach().to_local(), sharded)


def _together(slots: int, parts: list[Statistics]) -> Statistics:
    """Return the statistics of several devices as one."""
    whole = HostSlots().take(slots).result()
    for part in parts:
        filled = ~np.isnan(part.statistics[:, COUNT])
        for name in ("statistics", "histograms", "ranges"):
            getattr(whole, name)[filled] = getattr(part, name)[filled]
        whole = replace(
            whole,
            units={**whole.units, **part.units},
            highest={**whole.highest, **part.highest},
            asymmetry={**whole.asymmetry, **part.asymmetry},
            one_signed={**whole.one_signed, **part.one_signed},
        )
    return whole
