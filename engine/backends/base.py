"""The array library behind the engine: NumPy, or CuPy on a GPU, behind one small protocol.

Formulas in the engine are written once, against `backend.xp`, the array module itself; what the two
libraries do not share stands here. This is the only module that imports cupy.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.backends.cpu_kernels.library import Kernels, kernels
from engine.backends.threads import ALONE, ThreadTeam
from engine.errors import BackendError, UnknownNameError

Array: TypeAlias = Any  # np.ndarray, or cupy.ndarray of the same interface
Host: TypeAlias = npt.NDArray[Any]
DTYPES: Final = ("float32", "float64")
CUPY_LAUNCHER: Final = "engine.cuda_graph.cupy_launcher"
"""Module of the launcher that the CuPy back-end is given: by name, for it is built upon training,
and so upon this module."""


class StepLauncher(Protocol):
    """What runs whole training steps on a device, ahead of the host."""

    def step_runner(self, step: Any) -> Any:
        """Return an `engine.training.step_runner.StepRunner` for a TrainingStep.

        Raises NotPlannedError where the device cannot run the step as a whole.
        """


class Backend(Protocol):
    """What layers, losses, optimisers and probes need to know of the array library."""

    name: str
    dtype: np.dtype[Any]
    xp: Any  # the array module: numpy or cupy
    block: int  # elements to work on at a time, so that they stay in a cache if there is one
    thread_team: ThreadTeam  # shares large work on the host

    @property
    def device(self) -> str:
        """The device in words: "CPU (x86_64)", "NVIDIA H100 80GB HBM3"."""

    @property
    def software(self) -> str:
        """What computes: "numpy 2.4.6, kernels 1b4d90be"; another may round otherwise."""

    @property
    def launcher(self) -> StepLauncher | None:
        """What runs whole steps ahead of the host; None where the host waits for each operation."""

    instead: str  # why it was taken in place of a GPU that ought to work; "" otherwise

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Allocate without filling; `dtype` defaults to the backend's."""

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        """Allocate and fill with `value`."""

    def to_device(self, values: Host, dtype: Any = None) -> Array:
        """Copy host values to the device, C-contiguous; floats become the backend's dtype."""

    def to_host(self, values: Array) -> Host:
        """Return the values as NumPy, waiting for them."""

    def take_rows(self, source: Array, rows: Array, out: Array) -> None:
        """out[i] = source[rows[i]], without allocating."""

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        """Return a compiled kernel, in place of a formula of many passes; None: there is none.

        `fixed` are its first arguments; it takes the others, arrays of so many elements
        (`engine.backends.cpu_kernels.library`).
        """


class _ArrayModule:
    """What both back-ends write alike, in terms of `xp`."""

    name: str
    xp: Any
    thread_team = ALONE
    instead = ""

    def __init__(self, dtype: str) -> None:
        if dtype not in DTYPES:
            raise UnknownNameError("dtype", dtype, DTYPES)
        self.dtype = np.dtype(dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.empty(shape, self.dtype if dtype is None else dtype)

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        return self.xp.full(shape, value, self.dtype)

    def to_device(self, values: Host, dtype: Any = None) -> Array:
        floating = np.issubdtype(values.dtype, np.floating)
        wanted = self.dtype if dtype is None and floating else dtype
        return self.xp.ascontiguousarray(self.xp.asarray(values, wanted))

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        return None


class NumPyBackend(_ArrayModule):
    """Arrays in main memory."""

    name = "numpy"
    xp: Any = np
    device = f"CPU ({platform.machine()})"
    block = 1 << 17
    """So many that calls do not count, and threads do not wait for Python's lock."""

    def __init__(self, dtype: str, threads: int = 1, kernels: Kernels | None = None) -> None:
        super().__init__(dtype)
        self.thread_team, self._kernels = ThreadTeam(threads), kernels

    @property
    def software(self) -> str:
        compiled = "formulas" if self._kernels is None else f"kernels {self._kernels.name}"
        return f"numpy {np.__version__}, {compiled}"

    @property
    def launcher(self) -> StepLauncher | None:
        return None

    def to_host(self, values: Array) -> Host:
        return np.asarray(values)

    def take_rows(self, source: Array, rows: Array, out: Array) -> None:
        # mode="raise" would gather into a temporary first, to leave `out` alone on an error.
        np.take(source, rows, axis=0, out=out, mode="clip")

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        return None if self._kernels is None else self._kernels.bind(name, *fixed, sizes=sizes)


class CuPyBackend(_ArrayModule):
    """Arrays on the current CUDA device. Raises BackendError where there is none."""

    name = "cupy"
    block = sys.maxsize

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self._cupy = _import_cupy()
        self.xp = _CuPy(self._cupy, self)

    @property
    def launcher(self) -> StepLauncher | None:
        launcher: StepLauncher = self.cupy_launcher
        return launcher

    @cached_property
    def cupy_launcher(self) -> Any:
        """The same launcher as an `engine.cuda_graph.cupy_launcher.CuPyLauncher`."""
        return import_module(CUPY_LAUNCHER).CuPyLauncher(self._cupy, self.dtype)

    @property
    def software(self) -> str:
        return f"cupy {self._cupy.__version__}"

    @cached_property
    def device(self) -> str:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return str(properties["name"].decode())

    def to_host(self, values: Array) -> Host:
        return np.asarray(self.xp.asnumpy(values))

    def take_rows(self, source: Array, rows: Array, out: Array) -> None:
        self.xp.take(source, rows, axis=0, out=out)


class _CuPy:
    """The module cupy, but that its products can become part of a CUDA graph."""

    def __init__(self, cupy: Any, backend: CuPyBackend) -> None:
        self._cupy, self._backend = cupy, backend

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cupy, name)
        setattr(self, name, found)  # the next look-up is a plain one
        return found

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Write a b into `out`: within a plan by the launcher's cuBLAS, for CuPy refuses there."""
        launcher = self._backend.cupy_launcher
        return (launcher if launcher.running else self._cupy).matmul(a, b, out=out)


class NoGPUError(BackendError):
    """CuPy, the driver or a GPU is not there at all, which is no fault of this machine."""


def _import_cupy() -> Any:
    """Import cupy and try it, for each thing that can be missing shows at another point."""
    install = (
        "in tuilab's folder, install the extra that fits the driver: "
        "python3 -m pip install -e '.[cuda12]' or '.[cuda13]'"
    )
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise NoGPUError(f"the cupy back-end needs CuPy, which is not here: {install}") from error
    except Exception as error:
        raise BackendError(f"CuPy is installed but cannot be imported: {error}") from error
    runtime = cupy.cuda.runtime
    try:
        devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        kind = BackendError if runtime.driverGetVersion() else NoGPUError
        raise kind(
            f"CuPy {cupy.__version__} is here but finds no usable NVIDIA driver ({error}); "
            "use --backend numpy, or install the driver and check it with nvidia-smi"
        ) from error
    if not devices:
        raise NoGPUError("CuPy finds no GPU; use --backend numpy")
    try:
        # A missing libcublas or NVRTC shows only here; of one number CuPy makes no call of cuBLAS.
        a, b = (cupy.arange(1, 7, dtype=np.float32).reshape(shape) for shape in ((2, 3), (3, 2)))
        product = cupy.matmul(a, b).get().tolist()
    except Exception as error:
        raise BackendError(
            f"CuPy finds a GPU but cannot multiply on it: {error}. "
            f"If a CUDA library is missing, {install}"
        ) from error
    if product != [[22, 28], [49, 64]]:
        raise BackendError(f"the GPU computes wrong products: {product} for [[22, 28], [49, 64]]")
    return cupy


BACKENDS: Final = ("numpy", "cupy")


def make_backend(name: str = "auto", dtype: str = "float32", threads: int = 1) -> Backend:
    """Make a back-end by name; `auto` takes CuPy where it works and NumPy otherwise.

    `threads` share what is elementwise on the host; those of BLAS are not set here. NumPy's
    `instead` says why, where CuPy and a GPU are there. Raises BackendError (what is missing and how
    to install it) or UnknownNameError.
    """
    if name not in (*BACKENDS, "auto"):
        raise UnknownNameError("backend", name, [*BACKENDS, "auto"])
    instead = ""
    if name != "numpy":
        try:
            return CuPyBackend(dtype)
        except BackendError as error:
            if name == "cupy":
                raise
            instead = "" if isinstance(error, NoGPUError) else str(error)
    backend = NumPyBackend(dtype, threads, kernels(dtype) if dtype in DTYPES else None)
    backend.instead = instead
    return backend


def usable_cores() -> int:
    """Number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
