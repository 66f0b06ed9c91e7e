"""Matrix products by cuBLAS, in a form that can be captured."""

import ctypes
import weakref
from typing import Any, Final

import numpy as np

from engine.backends.base import Array
from engine.cuda_graph.plan import Product
from engine.errors import NotPlannedError

WORKSPACE: Final = 32 << 20
"""Bytes for cuBLAS: what NVIDIA recommends for Hopper."""
COLUMN_MAJOR: Final = {  # dtype: (cudaDataType, cublasComputeType, the same with TF32)
    "float32": (0, 68, 77),
    "float64": (1, 70, 70),
}
TENSOR_OP: Final = 99  # CUBLAS_GEMM_DEFAULT_TENSOR_OP


class Blas:
    """cuBLAS for one dtype, through ctypes: CuPy 14 refuses products while a stream is captured.

    It has its own handle: setting the stream of a handle resets its workspace, and without one
    cuBLAS would allocate a workspace during the capture.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any]) -> None:
        # CuPy has loaded the library already: `import_cupy` multiplies once.
        self._library = ctypes.CDLL(f"libcublas.so.{cupy.cuda.runtime.runtimeGetVersion() // 1000}")
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        self._library.cublasCreate_v2.argtypes = [ctypes.POINTER(pointer)]
        self._library.cublasSetStream_v2.argtypes = [pointer, pointer]
        self._library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
        matrix: list[Any] = [pointer, integer, integer]  # address, type, row stride
        stack = [*matrix, ctypes.c_longlong]  # and matrix stride
        sizes: list[Any] = [integer] * 5
        last: list[Any] = [integer, integer]
        self._library.cublasGemmEx.argtypes = [
            *(pointer, *sizes, pointer, *matrix, *matrix, pointer, *matrix, *last)
        ]
        self._library.cublasGemmStridedBatchedEx.argtypes = [
            *(pointer, *sizes, pointer, *stack, *stack, pointer, *stack, integer, *last)
        ]
        self._kind, self._compute, self._tensor = COLUMN_MAJOR[dtype.name]
        number = ctypes.c_float if dtype == np.float32 else ctypes.c_double
        self._one, self._zero = number(1), number(0)
        self._workspace = cupy.empty(WORKSPACE, np.uint8)
        self._handle, self._stream = pointer(), -1
        _check(self._library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")
        self._library.cublasDestroy_v2.argtypes = [pointer]
        weakref.finalize(self, self._library.cublasDestroy_v2, self._handle)

    def multiply(self, item: Product, stream: int, *, tf32: bool) -> None:
        if stream != self._stream:
            _check(self._library.cublasSetStream_v2(self._handle, stream), "cublasSetStream")
            space = self._workspace
            status = self._library.cublasSetWorkspace_v2(self._handle, space.data.ptr, space.nbytes)
            _check(status, "cublasSetWorkspace")
            self._stream = stream
        # cuBLAS is column-major: outᵀ = bᵀ aᵀ there is out = a b here.
        (rows, columns), inner = item.out.shape[-2:], item.a.shape[-2 if item.transpose_a else -1]
        last = self._tensor if tf32 else self._compute, TENSOR_OP
        stacked = item.out.ndim == 3
        name = "cublasGemmStridedBatchedEx" if stacked else "cublasGemmEx"
        status = getattr(self._library, name)(
            *(self._handle, int(item.transpose_b), int(item.transpose_a), columns, rows, inner),
            *(ctypes.byref(self._one), *self._operand(item.b, stacked)),
            *self._operand(item.a, stacked),
            *(ctypes.byref(self._zero), *self._operand(item.out, stacked)),
            *((item.count,) if stacked else ()),
            *last,
        )
        _check(status, name)

    def _operand(self, array: Array, stacked: bool) -> tuple[int, ...]:
        """Return address, type, row stride and, for stacks, matrix stride (0: a single matrix)."""
        matrix = int(array.data.ptr), self._kind, int(array.shape[-1])
        if not stacked:
            return matrix
        return (*matrix, array.strides[0] // array.itemsize if array.ndim == 3 else 0)


def _check(status: int, call: str) -> None:
    if status:
        raise NotPlannedError(f"{call} failed with status {status}")
