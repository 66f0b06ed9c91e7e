"""Elementwise non-linearities (lecture 6, "activation functions").

Each has its derivative, its saturation limits and the range of its histogram. Activations with
weights of their own are layers.
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
