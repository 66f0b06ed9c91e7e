"""The launcher over CuPy: kernels compiled by NVRTC, products by cuBLAS, CUDA graphs."""

import ctypes
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np

from engine.backends.base import Array, Host
from engine.cuda_graph.plan import EagerCall, Join, Launch, LaunchPlan, Product, products
from engine.cuda_graph.sources import source
from engine.cuda_graph.step_queue import StepQueue
from engine.errors import DeviceLostError, NotPlannedError
from engine.training.training_step import TrainingStep

WORKSPACE: Final = 32 << 20
"""Bytes for cuBLAS: what NVIDIA recommends for Hopper."""
COLUMN_MAJOR: Final = {  # dtype: (cudaDataType, cublasComputeType, the same with TF32)
    "float32": (0, 68, 77),
    "float64": (1, 70, 70),
}
TENSOR_OP: Final = 99  # CUBLAS_GEMM_DEFAULT_TENSOR_OP

T = TypeVar("T")


class CuPyLauncher:
    """Launches on the default stream, on which everything else of this process runs in order too.

    `tf32` lets the products round float32 to 10 bits of mantissa, as tensor cores have it.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any], *, tf32: bool = False) -> None:
        self._cupy, self._runtime, self._dtype = cupy, cupy.cuda.runtime, dtype
        self.tf32 = tf32
        self._functions: dict[str, Any] = {}
        self._fork: _Fork | None = None  # while a plan is captured
        self.beside = True
        """Whether products that may run beside others do, in graphs."""
        self.running = False
        """Whether a plan is being carried out: products of an `EagerCall` must be ours then."""

    @cached_property
    def _module(self) -> Any:
        return self._cupy.RawModule(code=source(self._dtype), options=("--std=c++17",))

    @cached_property
    def _blas(self) -> "_Blas":
        return self._tried_blas()

    @cached_property
    def _other_blas(self) -> "_Blas":
        """For products beside others: calls that run at the same time may not share a workspace."""
        return self._tried_blas()

    def _tried_blas(self) -> "_Blas":
        blas = _Blas(self._cupy, self._dtype)
        a, b, out = (
            self._cupy.asarray(np.reshape(values, shape), self._dtype)
            for values, shape in ((range(1, 7), (2, 3)), (range(1, 7), (3, 2)), ([0] * 4, (2, 2)))
        )
        blas.multiply(Product(a, b, out), self._current, tf32=False)
        if self._cupy.asnumpy(out).tolist() != [[22, 28], [49, 64]]:
            raise NotPlannedError("cuBLAS computes another product than it was asked for")
        return blas

    @cached_property
    def _streams(self) -> tuple[Any, Any]:
        """To capture on, for the default one cannot be captured; and for products beside others."""
        made = [self._cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        return made[0], made[1]

    def step_runner(self, step: TrainingStep) -> StepQueue:
        return StepQueue(step, self)

    def run(self, plan: LaunchPlan) -> None:
        self._run(plan)
        self.mark().wait()

    def _run(self, plan: LaunchPlan) -> None:
        self.running = True
        try:
            for item in plan:
                match item:
                    case Launch():
                        self._function(item.kernel)(item.grid, item.block, item.arguments)
                    case Product() if item.beside and self._fork is not None:
                        with self._fork.beside() as stream:
                            self._other_blas.multiply(item, stream, tf32=self.tf32)
                    case Product():
                        self.multiply(item)
                    case EagerCall():
                        item.run()
                    case Join() if self._fork is not None:
                        self._fork.join()
        finally:
            self.running = False

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            self._functions[kernel] = self._module.get_function(kernel)
        return self._functions[kernel]

    def multiply(self, item: Product) -> None:
        """Launch a product on the current stream."""
        self._blas.multiply(item, self._current, tf32=self.tf32)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Launch `out` = a b, of matrices, vectors or stacks of matrices; return `out`."""
        for item in products(a, b, out):
            self.multiply(item)
        return out

    def capture(self, plan: LaunchPlan) -> Callable[[], None]:
        _ = self._module, self._blas, self._other_blas  # none may be made during a capture
        (stream, other), pool = self._streams, self._cupy.cuda.MemoryPool()
        with stream, self._cupy.cuda.using_allocator(pool.malloc), _no_collection():
            stream.begin_capture()
            self._fork = _Fork(self._cupy, stream, other) if self.beside else None
            try:
                self._run(plan)
                if self._fork is not None:
                    self._fork.join()
            except BaseException:
                with suppress(Exception):
                    stream.end_capture()
                raise
            finally:
                self._fork = None
            return _Graph(self, stream.end_capture(), pool)

    def check(self) -> None:
        for last_try in (False, True):
            try:
                self._runtime.deviceSynchronize()
                return
            except self._runtime.CUDARuntimeError as error:
                if last_try:  # the first may be an error of a call, which is over when it is told
                    raise DeviceLostError(error) from error

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the driver; what fails where nothing was wrong with the call, failed before it."""
        try:
            return function(*arguments)
        except self._runtime.CUDARuntimeError as error:
            raise DeviceLostError(error) from error

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Host:
        count = int(np.prod(shape))
        memory = self._cupy.cuda.alloc_pinned_memory(count * np.dtype(dtype).itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def upload(self, values: Host, to: Array) -> None:
        copy, kind = self._runtime.memcpyAsync, self._runtime.memcpyHostToDevice
        self.call(copy, to.data.ptr, values.ctypes.data, values.nbytes, kind, self._current)

    def download(self, values: Array, to: Host) -> None:
        copy, kind = self._runtime.memcpyAsync, self._runtime.memcpyDeviceToHost
        self.call(copy, to.ctypes.data, values.data.ptr, to.nbytes, kind, self._current)

    @property
    def _current(self) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)

    def mark(self) -> "_Mark":
        return _Mark(self, self._cupy)

    def pointer(self, array: Array) -> int:
        return int(array.data.ptr)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector off: what it frees may be no call for the middle of a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Fork:
    """Two branches of a graph that is being captured: `main`, and at times one beside it."""

    def __init__(self, cupy: Any, main: Any, other: Any) -> None:
        self._event, self._main, self._other = cupy.cuda.Event, main, other
        self._open = False

    @contextmanager
    def beside(self) -> Iterator[int]:
        """Give the stream of the other branch, which waits for all that is in the main one."""
        self._wait(self._other, self._main)
        self._open = True
        yield int(self._other.ptr)

    def join(self) -> None:
        """Let the main branch wait for the other."""
        if self._open:
            self._wait(self._main, self._other)
        self._open = False

    def _wait(self, stream: Any, other: Any) -> None:
        event = self._event(disable_timing=True)
        event.record(other)
        stream.wait_event(event)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A CUDA graph, with the memory that it works in besides its arrays.

    A pool of its own: one that runs out of memory gives back what is free in it, which other graphs
    would still write to.
    """

    launcher: CuPyLauncher
    graph: Any
    pool: Any

    def __call__(self) -> None:
        self.launcher.call(self.graph.launch)


class _Mark:
    def __init__(self, launcher: CuPyLauncher, cupy: Any) -> None:
        self._call, self._elapsed = launcher.call, cupy.cuda.get_elapsed_time
        self._event = cupy.cuda.Event()
        self._call(self._event.record)

    @property
    def done(self) -> bool:
        return bool(self._call(lambda: self._event.done))

    def wait(self) -> None:
        self._call(self._event.synchronize)

    def seconds_since(self, earlier: "_Mark") -> float:
        return float(self._elapsed(earlier._event, self._event)) / 1e3


class _Blas:
    """cuBLAS by ctypes: CuPy 14 refuses its own products while a stream is captured.

    With a handle of its own, for whoever sets the stream of a handle resets its workspace, and
    without a workspace cuBLAS would allocate one in the middle of a capture.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any]) -> None:
        # CuPy has loaded it by now: `import_cupy` multiplied once.
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
