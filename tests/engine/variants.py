"""Every registered member with its default settings, and once more with each that matters."""

from typing import Any

from engine.activations import ELU, GELU, Activation, LeakyReLU, activations
from engine.layers.base import Layer
from engine.layers.maxout import Maxout
from engine.layers.prelu import PReLU
from engine.losses import Loss, MulticlassSVM, SoftmaxCrossEntropy, losses
from engine.optimization.optimizers import SGD, Adam, Optimizer, RMSProp, optimizers
from engine.optimization.schedules import Schedule, schedules

ACTIVATIONS: list[Activation] = [
    *(cls() for cls in activations.values()),
    LeakyReLU(0.2),
    ELU(0.6),
    ELU(1.7),
    GELU("tanh"),
]
"""Elementwise ones."""
LAYERED: list[Layer] = [PReLU(), PReLU(0.1, per_unit=True), Maxout(), Maxout(3)]
"""Activations that are layers of their own."""
HIDDEN: list[Activation | Layer] = [*ACTIVATIONS, *LAYERED]
LOSSES: list[Loss] = [
    *(cls() for cls in losses.values()),
    SoftmaxCrossEntropy(label_smoothing=0.2),
    MulticlassSVM(margin=0.3),
]

LIVELY: dict[str, float] = {"weight_decay": 0.02, "l1": 0.01}
OPTIMIZERS: list[Optimizer] = [
    *(cls() for cls in optimizers.values()),
    *(cls(**LIVELY) for cls in optimizers.values()),
    SGD(0.1, momentum=0.9, clip_norm=0.3, **LIVELY),
    SGD(0.1, clip_norm=100.0, clip_value=10.0),  # limits that are never reached
    SGD(0.1, momentum=0.5, clip_value=0.01, clip_norm=0.1, **LIVELY),
    RMSProp(momentum=0.7, **LIVELY),
    Adam(beta1=0.8, beta2=0.9, epsilon=1e-3, clip_value=0.02, **LIVELY),
]
CHANGED = {"alpha": 0.5, "beta1": 0.5, "beta2": 0.6, "momentum": 0.4, "epsilon": 1e-2}
"""What to change a hyper-parameter to, so that it shows; 0.05 for the others."""

SCHEDULES: list[Schedule] = [cls(warm_up_steps=2) for cls in schedules.values()]


def name(value: Any) -> str:
    """Return a member as the id of a test: "ELU(alpha=0.6)"."""
    return repr(value).replace(" ", "") if hasattr(value, "__dataclass_fields__") else str(value)
