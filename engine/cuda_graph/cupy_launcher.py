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
    """Launches on the default stream, which also orders all other work of this process.

    With `tf32`, products round float32 to 10 bits of mantissa, as tensor cores do.
    """

    def __init__(self, cupy: Any, dtype: np.dtype[Any], *, tf32: bool = False) -> None:
        self._cupy, self._runtime, self._dtype = cupy, cupy.cuda.runtime, dtype
        self.tf32 = tf32
        self._functions: dict[str, Any] = {}
        self._fork: _Fork | None = None  # only during a capture
        self.branches = True
        """Whether graphs run concurrent products in a branch of their own."""
        self.running = False
        """Whether a plan is being executed: the products of an EagerCall then use `_Blas`."""

    @cached_property
    def _module(self) -> Any:
        return self._cupy.RawModule(code=source(self._dtype), options=("--std=c++17",))

    @cached_property
    def _blas(self) -> "_Blas":
        return self._tested_blas()

    @cached_property
    def _branch_blas(self) -> "_Blas":
        """For concurrent products: calls that run at the same time must not share a workspace."""
        return self._tested_blas()

    def _tested_blas(self) -> "_Blas":
        blas = _Blas(self._cupy, self._dtype)
        a, b, out = (
            self._cupy.asarray(np.reshape(values, shape), self._dtype)
            for values, shape in ((range(1, 7), (2, 3)), (range(1, 7), (3, 2)), ([0] * 4, (2, 2)))
        )
        blas.multiply(Product(a, b, out), self._current, tf32=False)
        if self._cupy.asnumpy(out).tolist() != [[22, 28], [49, 64]]:
            raise NotPlannedError("cuBLAS computes a wrong product")
        return blas

    @cached_property
    def _streams(self) -> tuple[Any, Any]:
        """One to capture on, as the default stream cannot be captured, and one for the branch."""
        main, branch = (self._cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        return main, branch

    def step_runner(self, step: TrainingStep) -> StepQueue:
        return StepQueue(step, self)

    def run(self, plan: LaunchPlan) -> None:
        self._run(plan)
        self.fence().wait()

    def _run(self, plan: LaunchPlan) -> None:
        self.running = True
        try:
            for item in plan:
                match item:
                    case Launch():
                        self._function(item.kernel)(item.grid, item.block, item.arguments)
                    case Product() if item.concurrent and self._fork is not None:
                        with self._fork.branch() as stream:
                            self._branch_blas.multiply(item, stream, tf32=self.tf32)
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
        _ = self._module, self._blas, self._branch_blas  # must not be created during a capture
        (stream, branch), pool = self._streams, self._cupy.cuda.MemoryPool()
        with stream, self._cupy.cuda.using_allocator(pool.malloc), _no_collection():
            stream.begin_capture()
            self._fork = _Fork(self._cupy, stream, branch) if self.branches else None
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
                if (
                    last_try
                ):  # the first error may be that of a single call, cleared by reporting it
                    raise DeviceLostError(error) from error

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the driver with valid arguments: an error must come from an earlier operation."""
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

    def fence(self) -> "_Fence":
        return _Fence(self, self._cupy)

    def pointer(self, array: Array) -> int:
        return int(array.data.ptr)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable the garbage collector: freeing CUDA objects is not allowed during a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Fork:
    """The main stream of a graph that is being captured, and a branch of it."""

    def __init__(self, cupy: Any, main: Any, branch: Any) -> None:
        self._event, self._main, self._branch = cupy.cuda.Event, main, branch
        self._open = False

    @contextmanager
    def branch(self) -> Iterator[int]:
        """Yield the stream of the branch, which waits for everything on the main stream."""
        self._wait(self._branch, self._main)
        self._open = True
        yield int(self._branch.ptr)

    def join(self) -> None:
        """Let the main stream wait for the branch."""
        if self._open:
            self._wait(self._main, self._branch)
        self._open = False

    def _wait(self, stream: Any, other: Any) -> None:
        event = self._event(disable_timing=True)
        event.record(other)
        stream.wait_event(event)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A CUDA graph, with the pool of its temporary memory.

    Each graph has its own pool: a pool that runs out of memory returns its free blocks to the
    device, and other graphs that share it would still write to them.
    """

    launcher: CuPyLauncher
    graph: Any
    pool: Any

    def __call__(self) -> None:
        self.launcher.call(self.graph.launch)


class _Fence:
    def __init__(self, launcher: CuPyLauncher, cupy: Any) -> None:
        self._call, self._elapsed = launcher.call, cupy.cuda.get_elapsed_time
        self._event = cupy.cuda.Event()
        self._call(self._event.record)

    @property
    def done(self) -> bool:
        return bool(self._call(lambda: self._event.done))

    def wait(self) -> None:
        self._call(self._event.synchronize)

    def seconds_since(self, earlier: "_Fence") -> float:
        return float(self._elapsed(earlier._event, self._event)) / 1e3


class _Blas:
    """cuBLAS through ctypes, because CuPy 14 refuses products while a stream is captured.

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
