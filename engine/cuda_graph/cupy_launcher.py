"""The launcher over CuPy: kernels compiled by NVRTC, products by cuBLAS, CUDA graphs.

Never run on a GPU so far: see tests/benchmarks/README.md.
"""

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Final

import numpy as np

from engine.backends.base import Array, Host
from engine.cuda_graph.plan import EagerCall, Launch, LaunchPlan, Product
from engine.cuda_graph.sources import source
from engine.cuda_graph.step_queue import StepQueue
from engine.errors import NotPlannedError
from engine.training.training_step import TrainingStep

WORKSPACE: Final = 32 << 20
"""Bytes for cuBLAS: what NVIDIA recommends for Hopper."""
COLUMN_MAJOR: Final = {  # dtype: (cudaDataType, cublasComputeType, the same with TF32)
    "float32": (0, 68, 77),
    "float64": (1, 70, 70),
}
TENSOR_OP: Final = 99  # CUBLAS_GEMM_DEFAULT_TENSOR_OP


class CuPyLauncher:
    """Launches on the default stream, on which everything else of this process runs in order too.

    `tf32` lets the products round float32 to 10 bits of mantissa, as tensor cores have it.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any], *, tf32: bool = False) -> None:
        self._cupy, self._runtime, self._dtype = cupy, cupy.cuda.runtime, dtype
        self.tf32 = tf32
        self._pool = cupy.cuda.MemoryPool()  # what a graph works in must not be given to others
        self._functions: dict[str, Any] = {}
        self.running = False
        """Whether a plan is being carried out: products of an `EagerCall` must be ours then."""

    @cached_property
    def _module(self) -> Any:
        return self._cupy.RawModule(code=source(self._dtype), options=("--std=c++17",))

    @cached_property
    def _blas(self) -> "_Blas":
        return _Blas(self._cupy, self._dtype)

    @cached_property
    def _aside(self) -> Any:
        """A stream to capture on, for the default one cannot be captured."""
        return self._cupy.cuda.Stream(non_blocking=True)

    def step_runner(self, step: TrainingStep) -> StepQueue:
        return StepQueue(step, self)

    def run(self, plan: LaunchPlan) -> None:
        try:
            self._run(plan)
        except Exception as error:  # of whatever kind: then the step is made without a plan
            raise NotPlannedError(f"CUDA did not take the step: {error}") from error

    def _run(self, plan: LaunchPlan) -> None:
        self.running = True
        try:
            for item in plan:
                match item:
                    case Launch():
                        self._function(item.kernel)(item.grid, item.block, item.arguments)
                    case Product():
                        self.multiply(item)
                    case EagerCall():
                        item.run()
        finally:
            self.running = False

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            self._functions[kernel] = self._module.get_function(kernel)
        return self._functions[kernel]

    def multiply(self, item: Product) -> None:
        """Launch a product on the current stream."""
        stream = self._cupy.cuda.get_current_stream().ptr
        self._blas.multiply(item, stream, tf32=self.tf32)

    def capture(self, plan: LaunchPlan) -> Callable[[], None]:
        stream = self._aside
        with stream, self._cupy.cuda.using_allocator(self._pool.malloc):
            stream.begin_capture()
            try:
                self._run(plan)
                graph = stream.end_capture()
            except Exception as error:  # as above
                with suppress(Exception):
                    stream.end_capture()
                raise NotPlannedError(f"CUDA did not capture the step: {error}") from error
        launch: Callable[[], None] = graph.launch
        return launch

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Host:
        count = int(np.prod(shape))
        memory = self._cupy.cuda.alloc_pinned_memory(count * np.dtype(dtype).itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def upload(self, values: Host, to: Array) -> None:
        kind, stream = self._runtime.memcpyHostToDevice, self._current
        self._runtime.memcpyAsync(to.data.ptr, values.ctypes.data, values.nbytes, kind, stream)

    def download(self, values: Array, to: Host) -> None:
        kind, stream = self._runtime.memcpyDeviceToHost, self._current
        self._runtime.memcpyAsync(to.ctypes.data, values.data.ptr, to.nbytes, kind, stream)

    @property
    def _current(self) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)

    def mark(self) -> "_Mark":
        return _Mark(self._cupy)

    def pointer(self, array: Array) -> int:
        return int(array.data.ptr)


class _Mark:
    def __init__(self, cupy: Any) -> None:
        self._elapsed = cupy.cuda.get_elapsed_time
        self._event = cupy.cuda.Event()
        self._event.record()

    @property
    def done(self) -> bool:
        return bool(self._event.done)

    def wait(self) -> None:
        self._event.synchronize()

    def seconds_since(self, earlier: "_Mark") -> float:
        return float(self._elapsed(earlier._event, self._event)) / 1e3


class _Blas:
    """cuBLAS by ctypes: CuPy 14 refuses its own products while a stream is captured.

    With a handle of its own, for whoever sets the stream of a handle resets its workspace, and
    without a workspace cuBLAS would allocate one in the middle of a capture.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any]) -> None:
        # CuPy has loaded it by now: `_import_cupy` multiplied once.
        self._library = ctypes.CDLL(f"libcublas.so.{cupy.cuda.runtime.runtimeGetVersion() // 1000}")
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        self._library.cublasCreate_v2.argtypes = [ctypes.POINTER(pointer)]
        self._library.cublasSetStream_v2.argtypes = [pointer, pointer]
        self._library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
        matrix: list[Any] = [pointer, integer, integer]  # address, type, distance of rows
        stack = [*matrix, ctypes.c_longlong]  # and of matrices
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
        # cuBLAS counts down columns: what it takes for outᵀ = bᵀ aᵀ is out = a b to us.
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
        """Return address, type, distance of rows and, in a stack, of matrices (0: one for all)."""
        found = (int(array.data.ptr), self._kind, int(array.shape[-1]))
        if not stacked:
            return found
        return (*found, array.strides[0] // array.itemsize if array.ndim == 3 else 0)


def _check(status: int, call: str) -> None:
    if status:
        raise NotPlannedError(f"{call} failed with status {status}")
