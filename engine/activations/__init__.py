"""Non-linearities: each with its derivative, its saturation test and the range of its histogram.

A member writes `y = f(x)` into a buffer, and later turns dL/dy into dL/dx given x and y. Lecture 6,
"activation functions".
"""

from engine.activations.base import Activation, activations
from engine.activations.piecewise import ELU, SELU, Identity, LeakyReLU, ReLU
from engine.activations.smooth import GELU, Sigmoid, SiLU, Softplus, Tanh

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Identity",
    "LeakyReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "activations",
]
