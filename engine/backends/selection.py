"""Making a back-end by name."""

from typing import Final

from engine.backends.base import DTYPES, Backend
from engine.backends.cpu_kernels.library import kernels
from engine.backends.cupy_backend import CuPyBackend
from engine.backends.numpy_backend import NumPyBackend
from engine.errors import BackendError, NoGPUError, UnknownNameError

BACKENDS: Final = ("numpy", "cupy")


def make_backend(name: str = "auto", dtype: str = "float32", threads: int = 1) -> Backend:
    """Make a back-end by name; `auto` takes CuPy if it works and NumPy otherwise.

    `threads` share elementwise work on the host; the threads of BLAS are not set here. If `auto`
    takes NumPy although CuPy and a GPU are installed, its `instead` gives the reason. Raises
    BackendError (what is missing and how to install it) or UnknownNameError.
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
