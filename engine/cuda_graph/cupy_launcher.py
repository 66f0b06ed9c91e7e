"""The launcher over CuPy: kernels compiled by NVRTC, products by cuBLAS, CUDA graphs."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from engine.backends.base import Array, Host
from engine.cuda_graph.cublas import Blas
from engine.cuda_graph.plan import EagerCall, Join, Launch, LaunchPlan, Product, products
from engine.cuda_graph.sources import source
from engine.cuda_graph.step_queue import StepQueue
from engine.errors import DeviceLostError, NotPlannedError
from engine.training.training_step import TrainingStep

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
        """Whether a plan is being executed: the products of an EagerCall then use `Blas`."""

    @cached_property
    def _module(self) -> Any:
        return self._cupy.RawModule(code=source(self._dtype), options=("--std=c++17",))

    @cached_property
    def _blas(self) -> Blas:
        return self._tested_blas()

    @cached_property
    def _branch_blas(self) -> Blas:
        """For concurrent products: calls that run at the same time must not share a workspace."""
        return self._tested_blas()

    def _tested_blas(self) -> Blas:
        blas = Blas(self._cupy, self._dtype)
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
