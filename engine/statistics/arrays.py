"""The arrays that statistics are computed from, what computes on them, and scratch space."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any  # np.ndarray, or an array on a device with the same interface
Host: TypeAlias = npt.NDArray[Any]
Bounds: TypeAlias = tuple[float | None, float | None]
"""The lowest and the highest possible value; None where there is none."""

BLOCK: Final = 1 << 17
"""Elements measured at a time: half a megabyte of float32, which fits into the L2 cache, yet enough
that the overhead of the NumPy calls does not count."""
HISTOGRAM_SAMPLE: Final = 1 << 15
"""The histogram of a larger tensor counts every k-th element; the moments count all of them."""


class ArrayBackend(Protocol):
    """Where arrays live and what computes on them; `engine.backends` has the engine's two."""

    xp: Any  # the array module, with the interface of NumPy
    dtype: np.dtype[Any]

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Allocate without filling; `dtype` defaults to the back-end's."""

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """Allocate and fill with `value`."""

    def to_host(self, values: Array) -> Host:
        """Return the values as a NumPy array, once they are computed."""

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        """Return the compiled kernel `name` with its first arguments bound; None without one."""


class ArrayModule:
    """Arrays of one dtype from an array module with the interface of NumPy; no kernels."""

    xp: Any

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.empty(shape, self.dtype if dtype is None else dtype)

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        return self.xp.full(shape, value, self.dtype)

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        return None


class NumPyArrays(ArrayModule):
    """Plain NumPy arrays."""

    xp: Any = np

    def to_host(self, values: Array) -> Host:
        return np.asarray(values)


class Workspace:
    """Scratch arrays for measuring float32 or float64 values; used by one thread at a time."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.floats = np.empty(BLOCK, dtype)
        self.ones = np.ones(BLOCK, dtype)
        self.flags = np.empty(BLOCK, np.bool_)
        self.bins = np.empty(HISTOGRAM_SAMPLE, np.uint8)


def as_floats(values: npt.ArrayLike) -> Host:
    """Return `values` as float32 or float64 with at least one axis, copied only where needed.

    float16 becomes float32; integers and booleans become float64.
    """
    array = np.atleast_1d(values)
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32 if array.dtype == np.float16 else np.float64)
