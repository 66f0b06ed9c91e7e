"""The array libraries, threads and compiled kernels that formulas run on."""

from engine.backends.numpy_backend import NumPyBackend
from engine.backends.selection import BACKENDS, make_backend

__all__ = ["BACKENDS", "NumPyBackend", "make_backend"]
