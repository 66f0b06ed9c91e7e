"""What is known of PyTorch's non-linearities: names, limits, and where they saturate or die."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn

from engine.activations import Activation, activations
from engine.statistics.arrays import Bounds


@dataclass(frozen=True, slots=True)
class Response:
    """A non-linearity, as far as statistics need it; the fields are those of `LayerInfo`."""

    name: str
    bounds: Bounds = (None, None)
    saturated: tuple[float, float] | None = None
    silent_at: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    elementwise: bool = True  # otherwise it belongs to no layer but is shown as its own


def _of(name: str, **settings: float) -> Response:
    """Return the response of a non-linearity of the engine."""
    known: Activation = activations[name](**settings)
    return Response(name, known.bounds, known.saturated, known.silent_at, settings)


def _negative_slope(module: nn.Module) -> Response:
    return _of("leaky_relu", slope=min(max(float(module.negative_slope), 0.0), 1.0))


def _hardtanh(module: nn.Module) -> Response:
    low, high = float(module.min_val), float(module.max_val)
    return Response("hardtanh", (low, high), (low, high), low if low == 0 else None)


RELU6: Final = Response("relu6", (0.0, 6.0), None, 0.0)
SOFTMAX: Final = Response("softmax", (0.0, 1.0), elementwise=False)
HARDSIGMOID: Final = Response("hardsigmoid", (0.0, 1.0), (0.0, 1.0), 0.0)
MODULES: Final[Mapping[type[nn.Module], Callable[[nn.Module], Response]]] = {
    nn.ReLU: lambda _: _of("relu"),
    nn.LeakyReLU: _negative_slope,
    nn.Tanh: lambda _: _of("tanh"),
    nn.Sigmoid: lambda _: _of("sigmoid"),
    nn.ELU: lambda module: _of("elu", alpha=float(module.alpha)),
    nn.SELU: lambda _: _of("selu"),
    nn.GELU: lambda _: _of("gelu"),
    nn.SiLU: lambda _: _of("silu"),
    nn.Softplus: lambda _: _of("softplus"),
    nn.ReLU6: lambda _: RELU6,
    nn.Hardtanh: _hardtanh,
    nn.Hardsigmoid: lambda _: HARDSIGMOID,
    nn.Hardswish: lambda _: Response("hardswish", (-0.375, None)),
    nn.Mish: lambda _: Response("mish", (-0.3088405, None)),
    nn.CELU: lambda module: Response("celu", (-float(module.alpha), None)),
    nn.Softsign: lambda _: Response("softsign", (-1.0, 1.0), (-0.97, 0.97)),
    nn.PReLU: lambda _: Response("prelu"),
    nn.RReLU: lambda _: Response("rrelu"),
    nn.Softmax: lambda _: SOFTMAX,
    nn.LogSoftmax: lambda _: Response("log_softmax", (None, 0.0), elementwise=False),
}
"""Modules by their exact class: a subclass may compute something else."""

_BY_NAME: Final[Mapping[str, Response]] = {
    "relu": _of("relu"),
    "tanh": _of("tanh"),
    "sigmoid": _of("sigmoid"),
    "gelu": _of("gelu"),
    "silu": _of("silu"),
    "softplus": _of("softplus"),
    "selu": _of("selu"),
    "elu": _of("elu"),
    "leaky_relu": _of("leaky_relu"),
    "relu6": RELU6,
    "hardsigmoid": HARDSIGMOID,
    "hardswish": Response("hardswish", (-0.375, None)),
    "mish": Response("mish", (-0.3088405, None)),
    "softsign": Response("softsign", (-1.0, 1.0), (-0.97, 0.97)),
    "softmax": SOFTMAX,
    "log_softmax": Response("log_softmax", (None, 0.0), elementwise=False),
    "scaled_dot_product_attention": Response("attention", elementwise=False),
}


def _functions() -> dict[Callable[..., Any], Response]:
    """Return the functions and methods that compute non-linearities, in place or not."""
    found = {}
    for name, response in _BY_NAME.items():
        for owner in (F, torch, torch.Tensor, torch.special):
            for spelling in (name, f"{name}_"):
                if (function := getattr(owner, spelling, None)) is not None:
                    found[function] = response
    return found


FUNCTIONS: Final = _functions()


OF_TRANSFORMERS: Final[Mapping[str, str]] = {
    "GELUActivation": "gelu",
    "NewGELUActivation": "gelu",
    "FastGELUActivation": "gelu",
    "QuickGELUActivation": "gelu",
    "GELUTanh": "gelu",
    "PytorchGELUTanh": "gelu",
    "SiLUActivation": "silu",
    "MishActivation": "mish",
}
"""Names of classes of Hugging Face's Transformers, and what they compute, some approximately."""


def response_of(module: nn.Module) -> Response | None:
    """Return what is known of a module that is a non-linearity; None if it is not one."""
    if (describe := MODULES.get(type(module))) is not None:
        return describe(module)
    if type(module).__module__ == "transformers.activations":
        return _BY_NAME.get(OF_TRANSFORMERS.get(type(module).__name__, ""))
    return None


def named_response(name: str) -> Response | None:
    """Return what is known of a non-linearity with its default settings, by its name."""
    return _BY_NAME.get(name)
