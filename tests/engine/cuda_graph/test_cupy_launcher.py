"""The launcher over CuPy without a GPU: what it calls is there, and in the right order.

A stand-in for CuPy has NumPy's arrays, and for cuBLAS a product that counts down columns as cuBLAS
does, so that a wrong size, stride or transposition shows. That a GPU takes it all is not shown.
"""

import ast
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.cuda_graph import cublas, cupy_launcher
from engine.cuda_graph.cupy_launcher import CuPyLauncher
from engine.cuda_graph.launcher import refusing
from engine.cuda_graph.plan import EagerCall, Join, Launch, Product
from engine.errors import DeviceLostError, NotPlannedError

ROOTS = {"cupy.": "", "self._cupy.": "", "self._runtime.": "cuda.runtime."}
OF_WHAT_IS_MADE = [
    ("cuda.Stream", ("begin_capture", "end_capture", "wait_event", "__enter__")),
    ("cuda.Graph", ("launch",)),
    ("cuda.Event", ("record", "done", "synchronize")),
    ("cuda.MemoryPool", ("malloc",)),
    ("cuda.runtime", ("CUDARuntimeError", "deviceSynchronize", "driverGetVersion")),
    ("RawModule", ("get_function",)),
    ("RawKernel", ("__call__",)),
]


def names() -> Iterator[str]:
    """Yield what the launcher takes from CuPy: "cuda.runtime.memcpyAsync"."""
    trees = [
        ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for module in (cublas, cupy_launcher)
    ]
    for node in chain.from_iterable(map(ast.walk, trees)):
        words = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        for root, prefix in ROOTS.items():
            if words.startswith(root) and "(" not in words:
                yield prefix + words.removeprefix(root)


def of_cupy(name: str) -> Any:
    found: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
    for word in name.split("."):
        found = getattr(found, word)
    return found


def test_the_names_are_found() -> None:
    assert {"cuda.runtime.memcpyAsync", "RawModule", "cuda.Stream"} < set(names())


@pytest.mark.filterwarnings("ignore::UserWarning")  # that no CUDA path was found
@pytest.mark.parametrize("name", sorted(set(names())))
def test_cupy_has_it(name: str) -> None:
    of_cupy(name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "members"), OF_WHAT_IS_MADE)
def test_what_it_makes_has_what_is_used(kind: str, members: tuple[str, ...]) -> None:
    assert set(members) <= set(dir(of_cupy(kind)))


class Device(np.ndarray[Any, Any]):
    """An array of NumPy with CuPy's `data.ptr`."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


def device(array: npt.NDArray[Any]) -> Any:
    return array.view(Device)


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of CUDA."""


class StandIn:
    """What the launcher needs of CuPy; `log` says what was called."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.stream = SimpleNamespace(ptr=0)
        self.fail_at_end, self.streams = False, 0
        self.errors: list[str] = []  # what the next calls that wait or launch report
        self.asarray, self.asnumpy = lambda values, dtype: device(np.array(values, dtype)), np.array
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            deviceSynchronize=self._report,
            memcpyHostToDevice=1,
            memcpyDeviceToHost=2,
            memcpyAsync=self._copy,
            runtimeGetVersion=lambda: 12090,
        )
        self.cuda = SimpleNamespace(
            runtime=runtime,
            MemoryPool=lambda: SimpleNamespace(malloc="the pool's"),
            Stream=self._stream,
            Event=self._event,
            get_current_stream=lambda: self.stream,
            using_allocator=self._allocator,
            alloc_pinned_memory=ctypes.create_string_buffer,
            get_elapsed_time=lambda earlier, later: 1500.0,
        )

    def _report(self) -> None:
        if self.errors:
            raise CUDARuntimeError(self.errors.pop(0))

    def _event(self, *, disable_timing: bool = False) -> Any:
        def record(stream: Any = None) -> None:
            self.log.append("event" if stream is None else f"event on {stream.ptr}")

        return SimpleNamespace(record=record, done=True, synchronize=self._report)

    def _copy(self, to: int, of: int, size: int, kind: int, stream: int) -> None:
        self.log.append(f"copy {kind} on {stream}")
        ctypes.memmove(to, of, size)

    @contextmanager
    def _allocator(self, malloc: object) -> Iterator[None]:
        self.log.append(f"allocate by {malloc}")
        yield
        self.log.append("allocate as before")

    def _stream(self, *, non_blocking: bool) -> Any:
        assert non_blocking
        owner = self

        self.streams += 1

        class Stream:
            ptr = 76 + self.streams

            def wait_event(self, _: Any) -> None:
                owner.log.append(f"{self.ptr} waits")

            def __enter__(self) -> None:
                self.previous, owner.stream = owner.stream, self  # type: ignore[assignment]

            def __exit__(self, *_: object) -> None:
                owner.stream = self.previous

            def begin_capture(self) -> None:
                owner.log.append("begin")
                assert not gc.isenabled()

            def end_capture(self) -> Any:
                owner.log.append("end")
                if owner.fail_at_end:
                    raise RuntimeError("capture was invalidated")

                def launch() -> None:
                    owner._report()
                    owner.log.append("graph")

                return SimpleNamespace(launch=launch)

        return Stream()

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:
        assert "#define REAL float" in code

        def get_function(name: str) -> Any:
            return lambda grid, block, arguments: self.log.append(f"{name} on {self.stream.ptr}")

        return SimpleNamespace(get_function=get_function)

    def empty(self, size: int, dtype: Any) -> Any:
        return device(np.empty(size, dtype))


class Blas:
    """What the launcher needs of cuBLAS, on the host; keeps to its order of arguments."""

    def __init__(self, log: list[str]) -> None:
        self.cublasCreate_v2 = self._call(log, "create")
        self.cublasDestroy_v2 = self._call(log, "destroy")
        self.cublasSetStream_v2 = self._call(log, "stream")
        self.cublasSetWorkspace_v2 = self._call(log, "workspace")
        self.cublasGemmEx = self._call(log, "gemm", self._multiply)
        self.cublasGemmStridedBatchedEx = self._call(log, "batched gemm", self._multiply_each)

    def _call(self, log: list[str], name: str, action: Any = None) -> Any:
        class Call:
            argtypes: tuple[Any, ...] = ()

            def __call__(self, *arguments: Any) -> int:
                assert len(arguments) == len(self.argtypes), name
                log.append(name)
                if action is not None:
                    action(*arguments)
                return 0

        return Call()

    def _multiply(self, handle: Any, *rest: Any) -> None:
        turn_a, turn_b, m, n, k, alpha, a, _, lda, b, _, ldb, beta, c, _, ldc, compute, _ = rest
        self.compute = compute

        def matrix(at: int, rows: int, columns: int, apart: int) -> npt.NDArray[np.float32]:
            """Column-major (rows, columns), whose columns begin `apart` elements apart."""
            assert apart >= rows
            cells = (ctypes.c_float * (apart * columns)).from_address(at)
            return np.ctypeslib.as_array(cells).reshape(columns, apart).T[:rows]

        left = matrix(a, *((k, m) if turn_a else (m, k)), lda)
        right = matrix(b, *((n, k) if turn_b else (k, n)), ldb)
        product = (left.T if turn_a else left) @ (right.T if turn_b else right)
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        matrix(c, m, n, ldc)[...] = product

    def _multiply_each(self, handle: Any, *rest: Any) -> None:
        *sizes, alpha, a, kind_a, lda, to_a, b, kind_b, ldb, to_b, beta, c, kind_c, ldc, to_c = (
            rest[:-3]
        )
        count, last = rest[-3], rest[-2:]
        for k in range(count):
            matrices = (
                *(a + 4 * k * to_a, kind_a, lda, b + 4 * k * to_b, kind_b, ldb),
                *(beta, c + 4 * k * to_c, kind_c, ldc),
            )
            self._multiply(handle, *sizes, alpha, *matrices, *last)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    made.blas = Blas(made.log)  # type: ignore[attr-defined]

    def load(name: str) -> Blas:
        assert name == "libcublas.so.12"
        return made.blas  # type: ignore[attr-defined, no-any-return]

    monkeypatch.setattr(ctypes, "CDLL", load)
    return made


def launcher(cupy: StandIn, **settings: bool) -> CuPyLauncher:
    made = CuPyLauncher(cupy, np.dtype("float32"), **settings)
    x = device(np.ones((1, 1), np.float32))
    product = Product(x, x, device(x.copy()))
    made.run([product])  # which tries cuBLAS first
    made.capture([product])
    cupy.log.clear()
    return made


@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_products_are_right_for_a_library_that_counts_down_columns(
    cupy: StandIn, turn_a: bool, turn_b: bool
) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4, 5)))
    stored_a = device(np.ascontiguousarray(a.T if turn_a else a))
    stored_b = device(np.ascontiguousarray(b.T if turn_b else b))
    out = device(np.zeros((3, 5), np.float32))
    launcher(cupy).run([Product(stored_a, stored_b, out, turn_a, turn_b)])
    np.testing.assert_allclose(out, a @ b, rtol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_stack_of_products_is_one_call(cupy: StandIn, turned: bool, shared: bool) -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(6, 5, 4) if not turned else (6, 4, 5)).astype(np.float32)
    b = generator.normal(size=(4, 3) if shared else (6, 4, 3)).astype(np.float32)
    view = device(a)[:, 1:] if not turned else device(a)  # matrices with gaps between them
    out = device(np.zeros((6, *((4, 3) if not turned else (5, 3))), np.float32))
    launcher(cupy).run([Product(view, device(b), out, transpose_a=turned)])
    assert [call for call in cupy.log if "gemm" in call] == ["batched gemm"]
    expected = (a.transpose(0, 2, 1) if turned else a[:, 1:]) @ b
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_a_product_of_stacks_of_stacks_is_a_call_for_each_stack(cupy: StandIn) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.normal(size=s).astype(np.float32) for s in ((2, 6, 3, 4), (4, 5)))
    out = device(np.zeros((2, 6, 3, 5), np.float32))
    cupy.log.clear()
    assert launcher(cupy).matmul(device(a), device(b), out) is out
    assert [call for call in cupy.log if "gemm" in call] == ["batched gemm"] * 2
    np.testing.assert_allclose(out, a @ b, rtol=1e-5)


@pytest.mark.parametrize(("tf32", "compute"), [(False, 68), (True, 77)])
def test_tensor_cores_are_used_where_wished(cupy: StandIn, tf32: bool, compute: int) -> None:
    x = device(np.ones((2, 2), np.float32))
    launcher(cupy, tf32=tf32).run([Product(x, x, device(x.copy()))])
    assert cupy.blas.compute == compute  # type: ignore[attr-defined]


def plan() -> list[Any]:
    x = device(np.ones((2, 2), np.float32))
    return [
        Launch("relu_forward", (1,), (256,), ()),
        Product(x, x, device(x.copy())),
        Product(x, x, device(x.copy())),
    ]


def test_a_graph_is_captured_on_a_stream_and_in_a_pool_of_its_own(cupy: StandIn) -> None:
    made = launcher(cupy)
    made.run(plan())
    cupy.log.clear()
    graph = made.capture(plan())
    assert cupy.log == [
        "allocate by the pool's",
        "begin",
        "relu_forward on 77",
        *("stream", "workspace", "gemm", "gemm"),  # a new stream takes the workspace away
        "end",
        "allocate as before",
    ]
    graph()
    assert cupy.log[-1] == "graph"
    assert not made.running
    assert gc.isenabled()


def test_what_cannot_be_captured_says_why_and_ends_the_capture(cupy: StandIn) -> None:
    def read() -> None:
        raise ValueError("a value is needed")

    made = launcher(cupy)
    for way in (made.run, made.capture):
        with pytest.raises(NotPlannedError, match="a value is needed"), refusing(made):
            way([EagerCall("curious", read)])
    assert cupy.log.count("end") == 1
    cupy.fail_at_end = True
    with pytest.raises(NotPlannedError, match="invalidated"), refusing(made):
        made.capture(plan())
    assert cupy.stream.ptr == 0
    assert gc.isenabled()


def test_a_fault_shows_when_the_plan_was_run_and_not_later(cupy: StandIn) -> None:
    made = launcher(cupy)
    cupy.errors = ["invalid configuration"]  # of that launch alone
    with pytest.raises(NotPlannedError, match="invalid configuration"), refusing(made):
        made.run(plan())
    cupy.errors = ["illegal address"] * 3  # it stays: whatever is asked, the answer is this
    with pytest.raises(DeviceLostError, match=r"illegal address.*--backend numpy"), refusing(made):
        made.run(plan())


def test_a_device_that_fails_in_the_middle_of_a_run_is_reported_in_words(cupy: StandIn) -> None:
    made = launcher(cupy)
    graph, fence = made.capture(plan()), made.fence()
    for ask in (graph, fence.wait):
        cupy.errors = ["illegal address"]
        with pytest.raises(DeviceLostError, match="resume the run from its last checkpoint"):
            ask()


def test_a_library_that_multiplies_wrongly_is_not_trusted(cupy: StandIn) -> None:
    cupy.blas._multiply = lambda *_: None  # type: ignore[attr-defined]
    cupy.blas.cublasGemmEx = cupy.blas._call(cupy.log, "gemm")  # type: ignore[attr-defined]
    with pytest.raises(NotPlannedError, match="a wrong product"):
        launcher(cupy)


@pytest.mark.parametrize("branches", [False, True])
def test_a_product_that_nothing_needs_yet_is_a_branch_of_the_graph(
    cupy: StandIn, branches: bool
) -> None:
    made, x = launcher(cupy), device(np.ones((2, 2), np.float32))
    made.branches = branches
    aside = Product(x, x, device(x.copy()), concurrent=True)
    items: list[Any] = [Launch("dz", (1,), (1,), ()), aside, Launch("dx", (1,), (1,), ()), Join()]
    made.capture(items)
    made.capture(items)
    calls = cupy.log[cupy.log.index("begin") + 1 : cupy.log.index("end")]
    where = [call for call in calls if call not in ("stream", "workspace")]
    branch = ["event on 77", "78 waits", "gemm", "dx on 77", "event on 78", "77 waits"]
    assert where == ["dz on 77", *(branch if branches else ["gemm", "dx on 77"])]
    cupy.log.clear()
    made.run(items)
    assert "78 waits" not in cupy.log


def test_each_graph_has_a_pool_of_its_own(cupy: StandIn) -> None:
    pools = iter(" ab")
    cupy.cuda.MemoryPool = lambda: SimpleNamespace(malloc=next(pools))
    made = launcher(cupy)
    made.capture(plan())
    made.capture(plan())
    allocators = [line for line in cupy.log if line.startswith("allocate by")]
    assert allocators == ["allocate by a", "allocate by b"]


def test_copies_are_asked_for_on_the_current_stream(cupy: StandIn) -> None:
    made = launcher(cupy)
    host = made.pinned((2, 3), np.float64)
    host[...] = np.arange(6).reshape(2, 3)
    there = device(np.zeros((2, 3)))
    made.upload(host, there)
    np.testing.assert_array_equal(there, host)
    back = made.pinned((2, 3), np.float64)
    made.download(there, back)
    np.testing.assert_array_equal(back, host)
    assert cupy.log == ["copy 1 on 0", "copy 2 on 0"]


def test_marks_are_events_with_their_time_in_seconds(cupy: StandIn) -> None:
    made = launcher(cupy)
    first, second = made.fence(), made.fence()
    assert second.done
    assert second.seconds_since(first) == 1.5
