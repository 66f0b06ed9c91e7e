"""The rows of a watched network: what is shown as one layer, found by what flows into what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.statistics.frames import FirstWeights, LayerInfo
from tuilab.adapters.torch.nonlinearities import Response, response_of

IDENTITY: Final = Response("identity")
WRAPPERS: Final = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names of modules that wrap another without being part of the network."""
PASSING: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
                  nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)  # fmt: skip


@dataclass(eq=False)
class Row:
    """One layer: a module with weights, and the normalisation and non-linearity that follow it.

    A non-linearity that follows no such module, or a parameter that belongs to none, is a row of
    its own. A module that is called several times in a pass has a row a call.
    """

    path: str
    kind: str
    slots: dict[str, int] = field(default_factory=dict)  # by name of the tensor
    parameter: str = ""  # name of its weight in the model
    response: Response = IDENTITY
    normalization: str = ""
    between: tuple[str, ...] = ()
    units: int = 0
    channels_first: bool = False  # units are on the second axis, not on the last
    units_last: bool = False  # of the weights: (*window, inputs, units)
    normalized: bool = False  # a normalisation was seen to follow
    joined: bool = False  # a non-linearity was seen to follow
    is_output: bool = False
    follows: "Row | None" = None  # whose output it was given, perhaps pooled or dropped out
    input_from: "tuple[Row, str] | None" = None  # whose tensor it was given, and which
    parameters: int = 0
    first: FirstWeights | None = None
    highest: npt.NDArray[np.float64] | None = None  # of each unit, in this window
    dead: npt.NDArray[np.bool_] | None = None  # in the last whole window

    def info(self, index: int, *, frozen: bool) -> LayerInfo:
        """Return what is recorded of the row; `index` counts from 1."""
        return LayerInfo(
            index=index,
            name="output" if self.is_output else self.path,
            kind=self.kind,
            units=self.units,
            activation=self.response.name,
            normalization=self.normalization,
            parameters=self.parameters,
            first=self.first,
            settings=dict(self.response.settings),
            between=self.between,
            frozen=frozen,
            path=self.path,
            parent=self.path.rpartition(".")[0],
            role="output" if self.is_output else "hidden",
            bounds=self.response.bounds,
            saturated=self.response.saturated,
            silent_at=self.response.silent_at,
        )

    @property
    def dead_fraction(self) -> float:
        """Share of units that were silent in the last window: 0 if none can be, NaN if unknown."""
        if self.response.silent_at is None:
            return 0.0
        return float("nan") if self.dead is None else float(self.dead.mean())

    def see_highest(self, highest: npt.NDArray[np.float64]) -> None:
        """Take the highest output of each unit in a batch into account."""
        if self.highest is None or len(self.highest) != len(highest):
            self.highest = highest
        else:
            np.fmax(self.highest, highest, out=self.highest)

    def end_window(self) -> None:
        """Decide which units were dead in the window that ends now."""
        floor = self.response.silent_at
        if self.highest is not None and floor is not None:
            self.dead = self.highest <= floor
        self.highest = None


@dataclass(frozen=True, slots=True)
class Known:
    """A module of the watched model: where it is, and what it is taken for."""

    path: str
    kind: str
    leaf: bool  # measured as a whole; what happens inside is not looked at
    response: Response | None = None
    weight: str = ""  # name of its parameter with the weights; "" without any
    normalizes: bool = False
    passes: bool = False  # neither weights nor a non-linearity
    channels_first: bool = False
    units_last: bool = False  # of the weights: (*window, inputs, units)
    parameters: int = 0


def clean(path: str) -> str:
    """Return the path of a module without the names of wrappers."""
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of wrappers for compilation and for several ranks."""
    while True:
        inner = model._modules.get("_orig_mod")
        if inner is None and type(model).__name__ in (
            "DistributedDataParallel",
            "DataParallel",
            "FullyShardedDataParallel",
        ):
            inner = model._modules.get("module") or model._modules.get("_fsdp_wrapped_module")
        if inner is None:
            return model
        model = inner


def known_modules(model: nn.Module, prefix: str = "") -> dict[int, Known]:
    """Return what is known of each module of a model, by `id`; its paths begin with `prefix`."""
    return {id(module): known(clean(prefix + path), module) for path, module in _walk(model)}


def _walk(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that are executed, with their paths; not the inside of leaves."""
    todo = [("", model)]
    while todo:
        path, module = todo.pop()
        yield path, module
        if not is_leaf(module):
            separator = "." if path else ""
            todo += [
                (f"{path}{separator}{name}", child)
                for name, child in module._modules.items()
                if child is not None
            ]


def is_leaf(module: nn.Module) -> bool:
    """Return whether a module is measured as a whole."""
    children = (child for child in module._modules.values() if child is not None)
    return next(children, None) is None or isinstance(module, nn.MultiheadAttention)


def kind_of(module: nn.Module) -> str:
    """Return the name of the class of a module, without what `fully_shard` makes of it."""
    cls = type(module)
    if any(base.__name__ == "FSDPModule" for base in cls.__bases__):
        return cls.__bases__[-1].__name__
    return cls.__name__


def known(path: str, module: nn.Module) -> Known:
    """Return what a module is taken for."""
    kind = kind_of(module)
    if not is_leaf(module):
        return Known(path, kind, leaf=False)
    if (response := response_of(module)) is not None:
        return Known(path, kind, leaf=True, response=response)
    own = {name: p for name, p in module.named_parameters(recurse=False) if p is not None}
    wide = [name for name, parameter in own.items() if parameter.ndim > 1]
    named = "weight" if "weight" in own else next(iter(wide or own), "")
    separator = "." if path else ""
    return Known(
        path,
        kind,
        leaf=True,
        weight=f"{path}{separator}{named}" if named else "",
        normalizes="Norm" in kind,
        passes=not own,
        channels_first="Conv" in kind
        or kind.startswith(("BatchNorm", "GroupNorm", "InstanceNorm")),
        units_last=kind == "Conv1D" and type(module).__module__.startswith("transformers."),
        parameters=sum(parameter.numel() for parameter in own.values()),
    )


def first_tensor(values: Any) -> torch.Tensor | None:
    """Return the first tensor of floating point in arguments or outputs of any structure."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() or values.is_complex() else None
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return None
    return next((t for value in values if (t := first_tensor(value)) is not None), None)


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors in outputs of any structure."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from tensors_in(value)


def units_first(parameter: torch.Tensor, row: Row) -> torch.Tensor:
    """Return weights as (units, inputs, *window), a view, however the layer of a row has them."""
    if not row.units_last or parameter.ndim < 2:
        return parameter
    return parameter.permute(-1, -2, *range(parameter.ndim - 2))


def first_weights(shape: Sequence[int], std: float, mean: float) -> FirstWeights | None:
    """Return how weights of a shape (units, inputs, *window) were drawn, judged by their spread.

    None where they were not drawn around 0.
    """
    if len(shape) < 2 or not std > 0 or abs(mean) > 5 * std / prod(shape) ** 0.5:
        return None
    window = prod(shape[2:])
    return FirstWeights(shape[1] * window, shape[0] * window, std)
