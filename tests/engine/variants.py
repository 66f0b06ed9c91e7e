"""Every registered member with its default settings, and once more with each that matters."""

from typing import Any

from engine.activations import ELU, GELU, Activation, LeakyReLU, activations
from engine.losses import Loss, MulticlassSVM, SoftmaxCrossEntropy, losses

ACTIVATIONS: list[Activation] = [
    *(cls() for cls in activations.values()),
    LeakyReLU(0.2),
    ELU(0.6),
    ELU(1.7),
    GELU("tanh"),
]

LOSSES: list[Loss] = [
    *(cls() for cls in losses.values()),
    SoftmaxCrossEntropy(label_smoothing=0.2),
    MulticlassSVM(margin=0.3),
]


def name(value: Any) -> str:
    """Return a member as the id of a test: "ELU(alpha=0.6)"."""
    return repr(value).replace(" ", "") if hasattr(value, "__dataclass_fields__") else str(value)
