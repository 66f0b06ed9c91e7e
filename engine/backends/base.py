"""What a back-end is: one small protocol over an array library, for NumPy and for CuPy.

Formulas in the engine are written once, against `backend.xp`, the array module itself. The protocol
covers what the two libraries do not share.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.backends.threads import ALONE, ThreadTeam
from engine.errors import UnknownNameError
from engine.statistics.arrays import ArrayModule

Array: TypeAlias = Any  # np.ndarray, or cupy.ndarray with the same interface
Host: TypeAlias = npt.NDArray[Any]
DTYPES: Final = ("float32", "float64")


class StepLauncher(Protocol):
    """Runs whole training steps on a device, ahead of the host."""

    def step_runner(self, step: Any) -> Any:
        """Return an `engine.training.step_runner.StepRunner` for a TrainingStep.

        Raises NotPlannedError if the device cannot run the step as a whole.
        """


class Backend(Protocol):
    """What layers, losses, optimisers and probes need from the array library."""

    name: str
    dtype: np.dtype[Any]
    xp: Any  # the array module: numpy or cupy
    block: int  # elements to work on at a time, so that they stay in a cache if there is one
    thread_team: ThreadTeam  # shares large work on the host
    instead: str  # why this back-end replaces a GPU that should work; "" otherwise

    @property
    def device(self) -> str:
        """The name of the device: "CPU (x86_64)", "NVIDIA H100 80GB HBM3"."""

    @property
    def software(self) -> str:
        """What computes, "numpy 2.4.6, kernels 1b4d90be"; other software may round differently."""

    @property
    def launcher(self) -> StepLauncher | None:
        """What runs whole steps ahead of the host; None where the host waits for each operation."""

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Allocate without filling; `dtype` defaults to the back-end's."""

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """Allocate and fill with `value`."""

    def to_device(self, values: Host, dtype: Any = None) -> Array:
        """Copy host values to the device, C-contiguous; floats become the back-end's dtype."""

    def to_host(self, values: Array) -> Host:
        """Return the values as a NumPy array, once they are computed."""

    def take_rows(self, source: Array, rows: Array, out: Array) -> None:
        """out[i] = source[rows[i]], without allocating."""

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        """Return a compiled kernel that replaces a formula of several passes; None without one.

        `fixed` are its first arguments. The returned function takes the others; `sizes` are the
        numbers of elements of the arrays among them (`engine.backends.cpu_kernels.library`).
        """


class BackendBase(ArrayModule):
    """What both back-ends share, in terms of `xp`."""

    name: str
    thread_team = ALONE
    instead = ""

    def __init__(self, dtype: str) -> None:
        if dtype not in DTYPES:
            raise UnknownNameError("dtype", dtype, DTYPES)
        super().__init__(dtype)

    def to_device(self, values: Host, dtype: Any = None) -> Array:
        floating = np.issubdtype(values.dtype, np.floating)
        target = self.dtype if dtype is None and floating else dtype
        return self.xp.ascontiguousarray(self.xp.asarray(values, target))
