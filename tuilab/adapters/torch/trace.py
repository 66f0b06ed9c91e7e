"""Follows the passes of a measured step: which layers there are, and what flows through them.

Global hooks see every call of a module while they are installed, which is during measured steps
only: nothing is attached to the model, so that copying, saving and compiling it are as before. A
`TorchFunctionMode`, active inside the model's forward pass, sees the functions that are called.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn
from torch._C import DisableTorchFunction
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.modules.module import (
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from engine.statistics.units import MOST_UNITS
from tuilab.adapters.torch.nonlinearities import FUNCTIONS, Response
from tuilab.adapters.torch.rows import (
    PASSING,
    Known,
    Row,
    first_tensor,
    tensors_in,
)
from tuilab.adapters.torch.slots import TensorSlots

REARRANGING: Final = ("view", "reshape", "contiguous", "identity", "flatten", "unflatten",
                      "squeeze", "unsqueeze")  # fmt: skip
"""Functions and modules whose result has the same values as their argument."""
LINKS: Final = frozenset(
    function
    for name in ("view", "reshape", "flatten", "contiguous", "dropout", "squeeze", "unsqueeze",
                 "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "max_pool1d", "clone")
    for owner in (F, torch, torch.Tensor)
    if (function := getattr(owner, name, None)) is not None
)  # fmt: skip
"""Functions whose result belongs to the same layer as their argument, though changed."""


@dataclass(frozen=True, slots=True)
class Open:
    """A tensor that a layer returned: what follows may still belong to that layer."""

    tensor: "weakref.ref[torch.Tensor]"
    version: int  # of its values: an operation in place since then makes others of them
    row: Row
    stage: str  # "linear", "normalized", "closed"
    handle: RemovableHandle | None = None  # of the hook on its gradient
    same: bool = True  # whether its values are those that the layer returned

    @property
    def output(self) -> str:
        """The name of the tensor of its row that it is."""
        return "activation" if self.stage == "closed" else "pre_activation"


@dataclass(frozen=True, slots=True)
class Applied:
    """A non-linearity that was computed inside of a layer."""

    response: Response
    given: torch.Tensor
    result: torch.Tensor


class Trace:
    """The layers of a model, and hooks that measure them while they are installed.

    `install` before a step that is measured, `remove` after it. `spent` sums up the seconds that
    the hooks took.
    """

    def __init__(
        self,
        slots: TensorSlots,
        failed: Callable[[BaseException], None],
        chosen: Callable[[str], bool],
    ) -> None:
        """`chosen` returns whether the layer at a path is measured."""
        self._slots, self._failed, self._chosen = slots, failed, cache(chosen)
        self._known: Mapping[int, Known] = {}
        self.rows: dict[tuple[str, int], Row] = {}  # by path and number of the call in a pass
        self.spent = 0.0
        self.batch_size = 0
        self.passes = 0  # that were measured in this step
        self.passes_in_evaluation = 0  # with gradients, and not measured
        self.accept_evaluation = False  # whether passes in evaluation mode are measured
        self.is_chain = False  # whether each layer is given what the one before it has returned
        self._handles: list[RemovableHandle] = []
        self._stack: list[Known] = []
        self._inside = 0  # depth inside of a leaf
        self._applied: Applied | None = None  # by the leaf that is being computed
        self._counting = False
        self._repeated = False  # whether a pass is one that a checkpoint repeats to go backwards
        self._calls: Counter[str] = Counter()
        self._without_gradient: Counter[str] = Counter()  # calls that a checkpoint will repeat
        self._open: dict[int, Open] = {}
        self._given: tuple[Open | None, torch.Size | None] = None, None
        """What the leaf that is being called was given: by which layer, and its shape."""
        self._mode = _Functions(self)
        self._mode_entered = False

    @property
    def installed(self) -> bool:
        """Whether calls of modules are seen."""
        return bool(self._handles)

    def install(self, known: Mapping[int, Known]) -> None:
        """See every call of the `known` modules from now on."""
        self._known = known
        self.passes = self.passes_in_evaluation = 0
        self._without_gradient.clear()
        if not self._handles:
            self._handles = [
                register_module_forward_pre_hook(self.enter),
                register_module_forward_hook(self.leave, with_kwargs=True, always_call=True),
            ]

    def remove(self) -> None:
        """See no calls any more."""
        for handle in self._handles:
            handle.remove()
            # PyTorch 2.13 leaves the flags of a global hook behind, and then takes it for present.
            for flags in (_global_forward_hooks_always_called, _global_forward_hooks_with_kwargs):
                flags.pop(handle.id, None)
        self._handles = []
        self._leave_mode()
        self._stack.clear()
        self._open.clear()
        self._inside, self._applied = 0, None

    # Calls of modules.

    def enter(self, module: nn.Module, args: Any) -> None:
        """See that a module is called."""
        known = self._known.get(id(module))
        if known is None or not self._handles:
            return
        if not self._stack:
            self._begin_pass(module, args)
        self._stack.append(known)
        if known.leaf and not self._inside:
            # Now, because an operation in place leaves another tensor in its place.
            with DisableTorchFunction():
                x = first_tensor(args)
                self._given = None if x is None else self._entry(x), None if x is None else x.shape
        self._inside += known.leaf

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """See what a module returned."""
        known = self._known.get(id(module))
        if known is None or not self._handles:
            return
        while self._stack:  # calls that ended with an error have left their names
            last = self._stack.pop()
            self._inside -= last.leaf
            if last is known:
                break
        if self._counting and known.leaf and not self._inside and output is not None:
            begin = perf_counter()
            try:
                with DisableTorchFunction():
                    self._leaf(known, args, kwargs, output)
            except Exception as error:  # noqa: BLE001  (never into the program)
                self._failed(error)
            self._applied = None
            self.spent += perf_counter() - begin
        if not self._stack:
            self._end_pass(output)

    def _begin_pass(self, module: nn.Module, args: Any) -> None:
        self._repeated = torch._C._current_graph_task_id() != -1
        if self._repeated:
            self._counting = bool(self._without_gradient)
            return
        self._calls.clear()
        training = module.training or self.accept_evaluation
        self._counting = torch.is_grad_enabled() and training
        if not self._counting:
            self.passes_in_evaluation += torch.is_grad_enabled()
            return
        self.passes += 1
        if (x := first_tensor(args)) is not None and x.ndim:
            self.batch_size = len(x)
        if not self._mode_entered:
            self._mode.__enter__()
            self._mode_entered = True

    def _end_pass(self, output: Any) -> None:
        self._leave_mode()
        if self._counting and not self._repeated:
            for tensor in tensors_in(output):
                if (entry := self._entry(tensor)) is not None:
                    entry.row.is_output = True
        self._counting = False
        self._open.clear()

    def _leave_mode(self) -> None:
        if self._mode_entered:
            self._mode_entered = False
            self._mode.__exit__(None, None, None)

    def _leaf(self, known: Known, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        if not torch.is_grad_enabled():
            if known.weight:  # its place is here, though it is measured in the backward pass
                self._row(known.path, self._without_gradient[known.path], known.kind)
            self._without_gradient[known.path] += 1
            return
        if torch._C._current_graph_task_id() != -1:
            if self._without_gradient[known.path] <= 0:
                return
            self._without_gradient[known.path] -= 1
        call = self._calls[known.path]
        self._calls[known.path] += 1
        y, x, (entry, shape) = first_tensor(output), first_tensor(args), self._given
        if y is None or is_functorch_wrapped_tensor(y):
            return
        if x is None:
            x = first_tensor(kwargs)
            if x is not None:
                entry, shape = self._entry(x), x.shape
        if known.response is not None:
            self.nonlinearity(known.path, known.kind, known.response, entry, y, call)
        elif known.weight and self._chosen(known.path):
            applied = self._applied
            if applied is not None and applied.result is y:
                row = self._weighted(known, entry, applied.given, call)
                self._apply(row, applied, call)
                return
            row = self._weighted(known, entry, y, call)
            if x is not None and row.path == known.path:  # it did not join another
                self._see_input(row, entry, x)
                if known.kind == "Linear":
                    self._see_signs(row, x, y)
        elif entry is not None and not known.weight:
            if not known.kind.startswith(NAMES_OF_PASSING) and shape == y.shape:
                own = Response(known.kind.lower())  # a non-linearity that somebody wrote
                self.nonlinearity(known.path, known.kind, own, entry, y, call)
            else:
                self.link(entry, y, known.kind)

    def _apply(self, row: Row, applied: "Applied", call: int) -> None:
        """Measure a non-linearity that a layer itself applies to its output, as in Keras."""
        if (entry := self._entry(applied.given)) is None:
            return
        response = applied.response
        if response.elementwise:
            self.nonlinearity(row.path, row.kind, response, entry, applied.result, call)
        else:
            self.link(entry, applied.result, response.name)

    def inside(self, response: Response, given: torch.Tensor | None, result: Any) -> None:
        """Remember the last non-linearity that was computed inside of a leaf, until that ends."""
        if given is not None and given is not result and isinstance(result, torch.Tensor):
            self._applied = Applied(response, given, result)

    # Layers.

    def _row(self, path: str, call: int, kind: str) -> Row:
        row = self.rows.get((path, call))
        if row is None:
            shown = path or kind.lower()
            row = Row(f"{shown}#{call + 1}" if call else shown, kind)
            self.rows[path, call] = row
        return row

    def slot(self, row: Row, tensor: str) -> int:
        """Return the slot of a tensor of a row."""
        slot = row.slots.get(tensor)
        if slot is None:
            slot = row.slots[tensor] = self._slots.new()
        return slot

    def _weighted(self, known: Known, entry: Open | None, y: torch.Tensor, call: int) -> Row:
        joins = known.normalizes and entry is not None and entry.stage == "linear"
        if joins and entry is not None and "Norm" not in entry.row.kind:
            row, stage = entry.row, "normalized"
            row.normalization = _normalization(known.kind)
            if entry.handle is not None:
                entry.handle.remove()
        else:
            row, stage = self._row(known.path, call, known.kind), "linear"
            row.parameter, row.parameters = known.weight, known.parameters
            row.channels_first = known.channels_first and y.ndim > 2
            row.units_last = known.units_last
        row.units = y.shape[1 if row.channels_first else -1] if y.ndim else 1
        slot = self.slot(row, "pre_activation")
        if stage == "normalized" and not row.normalized:
            self._slots.clear(slot)  # what was measured before the normalisation was known
            row.normalized = True
        if stage == "normalized" or not row.normalized:
            self._slots.measure(slot, y)
        if not row.joined:
            self._see_units(row, y)
        self._keep_open(row, y, stage)
        return row

    def nonlinearity(
        self,
        path: str,
        kind: str,
        response: Response,
        entry: Open | None,
        y: torch.Tensor,
        call: int,
    ) -> None:
        """Measure the output of a non-linearity; it joins the layer whose output it takes."""
        open_ = entry is not None and entry.stage != "closed"
        if entry is not None and open_ and response.elementwise and entry.row.kind not in OWN:
            row = entry.row
            if entry.handle is not None:
                entry.handle.remove()
        elif not self._chosen(path):
            return
        else:
            row = self._row(path, call, kind)
            row.follows = None if entry is None else entry.row
            if entry is not None and entry.same:
                row.input_from = entry.row, entry.output
            row.channels_first = response.elementwise and y.ndim > 3
            row.units = y.shape[1 if row.channels_first else -1] if y.ndim else 1
        row.response, row.joined = response, True
        self._slots.measure(
            self.slot(row, "activation"),
            y,
            bounds=response.bounds,
            saturation=response.saturated,
        )
        self._see_units(row, y)
        self._keep_open(row, y, "closed")

    def function(self, response: Response, entry: Open | None, result: Any, kind: str) -> None:
        """Measure the result of a function that is a non-linearity."""
        y = first_tensor(result)
        if y is None or is_functorch_wrapped_tensor(y) or not torch.is_grad_enabled():
            return
        where = self._stack[-1].path if self._stack else ""
        path = f"{where}.{response.name}" if where else response.name
        call = self._calls[path]
        self._calls[path] += 1
        self.nonlinearity(path, kind, response, entry, y, call)

    def link(self, entry: Open, y: torch.Tensor, kind: str) -> None:
        """Let a tensor belong to the layer of another: what was in between is remembered."""
        row = entry.row
        if kind not in ("view", "reshape", "contiguous", "Identity") and kind not in row.between:
            row.between = (*row.between, kind)
        stage = entry.stage if kind in ("view", "contiguous", "Identity") else "closed"
        same = entry.same and kind.lower() in REARRANGING
        self._open[id(y)] = Open(weakref.ref(y), y._version, row, stage, entry.handle, same)

    def _keep_open(self, row: Row, y: torch.Tensor, stage: str) -> None:
        handle = None
        if y.requires_grad:
            handle = y.register_hook(partial(self._gradient, row))
        self._open[id(y)] = Open(weakref.ref(y), y._version, row, stage, handle)

    def _see_input(self, row: Row, entry: Open | None, x: torch.Tensor) -> None:
        """Measure what a layer was given, unless it is what another has returned."""
        row.follows = None if entry is None else entry.row
        if entry is not None and entry.same:
            row.input_from = entry.row, entry.output
        elif not self.is_chain:
            row.input_from = None
            self._slots.measure(self.slot(row, "input"), x)

    def _entry(self, tensor: Any) -> Open | None:
        entry = self._open.get(id(tensor))
        if entry is None or entry.version != tensor._version:
            return None
        return entry if entry.tensor() is tensor else None

    def _gradient(self, row: Row, gradient: torch.Tensor) -> None:
        if not self._handles:
            return
        begin = perf_counter()
        try:
            self._slots.measure(self.slot(row, "activation_grad"), gradient)
        except Exception as error:  # noqa: BLE001  (never into the program)
            self._failed(error)
        self.spent += perf_counter() - begin

    def _see_signs(self, row: Row, x: torch.Tensor, y: torch.Tensor) -> None:
        """Measure the signs of the weight gradients of single examples, once dL/dy is known."""
        if y.requires_grad and x.shape[:-1] == y.shape[:-1] and x.is_floating_point():
            signed = self._slots.signed_rows(x)

            def measure(gradient: torch.Tensor) -> None:
                if not self._handles:
                    return
                begin = perf_counter()
                try:
                    self._slots.see_signs(row, signed, gradient)
                except Exception as error:  # noqa: BLE001  (never into the program)
                    self._failed(error)
                self.spent += perf_counter() - begin

            y.register_hook(measure)

    def _see_units(self, row: Row, y: torch.Tensor) -> None:
        """Measure the units of a layer, and remember which of them were active."""
        if y.ndim < 2 or row.units > MOST_UNITS or y.dtype.is_complex or not y.numel():
            return
        self._slots.see_units(
            row,
            y,
            channels_first=row.channels_first,
            floor=row.response.silent_at,
            saturation=row.response.saturated,
        )


NAMES_OF_PASSING: Final = (
    *(cls.__name__ for cls in PASSING),
    *("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "LPPool", "Upsample"),
    *(
        "ZeroPad",
        "ReflectionPad",
        "ReplicationPad",
        "ConstantPad",
        "PixelShuffle",
        "Fold",
        "Unfold",
    ),
)
OWN: Final = frozenset(response.name for response in FUNCTIONS.values())


def _normalization(kind: str) -> str:
    if kind.startswith(("BatchNorm", "LazyBatchNorm", "SyncBatchNorm")):
        return "batch_norm"
    names = {"LayerNorm": "layer_norm", "RMSNorm": "rms_norm", "GroupNorm": "group_norm"}
    return names.get(kind.removesuffix("alization"), kind)


class _Functions(TorchFunctionMode):
    """Sees the functions that are called inside of the model, but outside of its leaves."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        trace = self._trace
        response = FUNCTIONS.get(func)
        if not trace._counting or (response is None and (trace._inside or func not in LINKS)):
            return func(*args, **(kwargs or {}))
        if response is not None and trace._inside:
            result = func(*args, **(kwargs or {}))
            trace.inside(response, first_tensor(args or tuple((kwargs or {}).values())), result)
            return result
        begin = perf_counter()
        x = first_tensor(args or tuple((kwargs or {}).values()))
        entry = None if x is None else trace._entry(x)
        called = perf_counter()
        result = func(*args, **(kwargs or {}))
        begin += perf_counter() - called
        try:
            if response is not None:
                trace.function(response, entry, result, response.name)
            elif entry is not None and isinstance(result, torch.Tensor):
                trace.link(entry, result, func.__name__)
        except Exception as error:  # noqa: BLE001  (never into the program)
            trace._failed(error)
        trace.spent += perf_counter() - begin
        return result
