"""Arrays on a GPU: CuPy, imported and tested only when it is asked for.

This is the only module that imports cupy.
"""

import sys
from functools import cached_property
from importlib import import_module
from typing import Any, Final

import numpy as np

from engine.backends.base import Array, BackendBase, Host, StepLauncher
from engine.errors import BackendError, NoGPUError

LAUNCHER: Final = "engine.cuda_graph.cupy_launcher"
"""The module of the launcher. It is imported by name because it depends on training, and so on this
package."""


class CuPyBackend(BackendBase):
    """Arrays on the current CUDA device. Raises BackendError if there is none that works."""

    name = "cupy"
    block = sys.maxsize

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self._cupy = import_cupy()
        self.xp = _CuPy(self._cupy, self)

    @property
    def launcher(self) -> StepLauncher | None:
        launcher: StepLauncher = self.cupy_launcher
        return launcher

    @cached_property
    def cupy_launcher(self) -> Any:
        """The same launcher as an `engine.cuda_graph.cupy_launcher.CuPyLauncher`."""
        return import_module(LAUNCHER).CuPyLauncher(self._cupy, self.dtype)

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
    """The module cupy, with matrix products that can become part of a CUDA graph."""

    def __init__(self, cupy: Any, backend: CuPyBackend) -> None:
        self._cupy, self._backend = cupy, backend

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._cupy, name)
        setattr(self, name, attribute)  # makes the next look-up an ordinary one
        return attribute

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Write a b into `out`: within a plan by the launcher's cuBLAS, as CuPy refuses there."""
        launcher = self._backend.cupy_launcher
        return (launcher if launcher.running else self._cupy).matmul(a, b, out=out)


def import_cupy() -> Any:
    """Import cupy and test it. Raises BackendError, or NoGPUError if something is not installed.

    What can be missing shows at different points, so each of them is tested.
    """
    install = (
        "install the one that fits the driver: "
        f"{sys.executable} -m pip install 'cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]'"
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
        # A missing libcublas or NVRTC shows only here. CuPy does not use cuBLAS for 1×1 matrices.
        a, b = (cupy.arange(1, 7, dtype=np.float32).reshape(shape) for shape in ((2, 3), (3, 2)))
        product = cupy.matmul(a, b).get().tolist()
    except Exception as error:
        raise BackendError(
            f"CuPy finds a GPU but cannot multiply on it: {error}. "
            f"If a CUDA library is missing, {install}"
        ) from error
    if product != [[22, 28], [49, 64]]:
        raise BackendError(
            f"the GPU computes wrong products: {product} instead of [[22, 28], [49, 64]]"
        )
    return cupy
