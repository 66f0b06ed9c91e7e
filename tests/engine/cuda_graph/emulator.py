"""An emulated device: the kernels, compiled by g++, run on NumPy arrays, one thread at a time.

It replaces the driver in tests. As on a GPU, what is captured does not run. Fences are done only
`lag` fences later, so that reading too early fails.
"""

import ctypes
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.backends import NumPyBackend
from engine.cuda_graph.launcher import Launcher
from engine.cuda_graph.plan import EagerCall, Join, Launch, LaunchPlan, Product, products
from engine.cuda_graph.sources import source
from engine.cuda_graph.step_queue import StepQueue
from engine.errors import NotPlannedError
from engine.training.training_step import TrainingStep

Array = npt.NDArray[Any]
SHIM = Path(__file__).with_name("shim.h")
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fno-ipa-reference", "-fPIC", "-shared", "-w"]
FLAGS += ["-U_FORTIFY_SOURCE"]  # which mistakes a jump between fibres for an attack
TYPES = {"int": np.int32, "double": np.float64, "long long": np.int64}


@dataclass(frozen=True)
class Compiled:
    """The kernels of one dtype, and of each the types of its arguments, in C."""

    library: ctypes.CDLL
    signatures: dict[str, list[str]]


@cache
def compiled(dtype: str) -> Compiled:
    """Compile all kernels for the CPU; skip the test without g++."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("g++, which compiles the kernels for the CPU, is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tuilab-kernels-"))
    text = f'#include "{SHIM}"\n{source(np.dtype(dtype))}'
    whole = folder / "kernels.cpp"
    whole.write_text(text, encoding="utf-8")
    expanded = subprocess.run(
        [compiler, "-E", "-P", str(whole)], check=True, capture_output=True, text=True
    ).stdout
    found = re.findall(r'extern "C"\s+void (\w+)\(([^)]*)\)\s*\{', expanded)
    signatures = {name: [_type(each) for each in inside.split(",")] for name, inside in found}
    runs = "\n".join(
        f'extern "C" int run_{name}(const int* g, const int* b, void** a, int order) '
        f"{{ return emulated::launch({name}, g, b, a, order); }}"
        for name in signatures
    )
    whole.write_text(f"{text}\n{runs}\n", encoding="utf-8")
    to = folder / "kernels.so"
    subprocess.run([compiler, *FLAGS, str(whole), "-o", str(to)], check=True)
    library = ctypes.CDLL(str(to))
    shutil.rmtree(folder)  # it is loaded
    return Compiled(library, signatures)


def _type(argument: str) -> str:
    """`const float* x` → `float*`."""
    words = re.sub(r"\bconst\b", "", argument).replace("*", "* ").split()
    return " ".join(words[:-1]).replace(" *", "*")


class HostWaitError(Exception):
    """A plan read a value back, which would have to wait for a GPU."""


class Later:
    """The result of a recorded operation, which cannot be read."""

    def _wait(self, *_: object) -> Any:
        raise HostWaitError("a value was read while the step was recorded")

    __float__ = __int__ = __bool__ = __array__ = __len__ = __getitem__ = __index__ = _wait


class DeviceArray(np.ndarray[Any, Any]):
    """An array whose `fill` is an operation of the device, as all functions of the module are."""

    launcher: "Emulator"

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, DeviceArray):
            self.launcher = source.launcher

    def fill(self, value: Any) -> None:
        self.launcher.do(lambda: super(DeviceArray, self).fill(value))


class RecordingModule:
    """numpy, whose functions are recorded during a capture and run later."""

    def __init__(self, launcher: "Emulator") -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._launcher.do(lambda: found(*arguments, **keywords))

        return call


@dataclass(eq=False)
class EmulatedFence:
    """Done once `lag` more fences were made, or when it was waited for."""

    launcher: "Emulator"
    number: int
    work: int  # number of operations before it, of a microsecond each

    @property
    def done(self) -> bool:
        return (
            self.launcher.fences - self.number >= self.launcher.lag
            or self.number <= self.launcher.waited
        )

    def wait(self) -> None:
        self.launcher.waits += not self.done
        self.launcher.waited = max(self.launcher.waited, self.number)

    def seconds_since(self, earlier: "EmulatedFence") -> float:
        assert self.done, "the time is not known yet"
        return 1e-6 * (self.work - earlier.work)


class Emulator:
    """A Launcher on the host. `order` runs threads and blocks backwards; see shim.h."""

    def __init__(self, dtype: str, *, order: int = 0, lag: int = 5) -> None:
        self._kernels, self._dtype, self._order = compiled(dtype), np.dtype(dtype), order
        self.lag, self.fences, self.waited, self.waits = lag, 0, -1, 0
        self.done = 0
        self.captures: list[list[str]] = []
        self._recording: list[Callable[[], object]] | None = None
        self.running = False

    def do(self, action: Callable[[], Any]) -> Any:
        """Run an action, or record it during a capture."""
        if self._recording is None:
            self.done += 1
            return action()
        self._recording.append(action)
        return Later()

    def step_runner(self, step: TrainingStep) -> StepQueue:
        return StepQueue(step, self)

    def run(self, plan: LaunchPlan) -> None:
        concurrent: list[Product] = []  # run as late as they may
        for item in [*plan, Join()]:
            match item:
                case Launch():
                    self.do(self._prepared(item))
                case Product() if item.concurrent:
                    concurrent.append(item)
                case Product():
                    self.do(lambda item=item: multiply(item))  # type: ignore[misc]
                case EagerCall():
                    item.run()
                case Join():
                    for product in concurrent:
                        self.do(lambda item=product: multiply(item))  # type: ignore[misc]
                    concurrent = []

    def capture(self, plan: LaunchPlan) -> Callable[[], None]:
        recorded: list[Callable[[], object]] = []
        self._recording = recorded
        self.captures.append(list(items(plan)))
        try:
            self.run(plan)
        except HostWaitError as error:
            raise NotPlannedError(str(error)) from error
        finally:
            self._recording = None

        def replay() -> None:
            for action in recorded:
                self.done += 1
                action()

        return replay

    def check(self) -> None:
        pass

    def _prepared(self, item: Launch) -> Callable[[], None]:
        """Return the launch with addresses, like that of a graph: it does not keep arrays alive."""
        check(item, self._kernels.signatures, self._dtype)
        kernel = item.kernel
        run = getattr(self._kernels.library, f"run_{kernel}")
        arrays = [weakref.ref(each) for each in item.arguments if isinstance(each, np.ndarray)]
        cells = [
            np.array(each if isinstance(each, np.generic) else np.uintp(each.ctypes.data))
            for each in item.arguments
        ]
        grid, block = ((ctypes.c_int * 3)(*(*shape, 1, 1)[:3]) for shape in (item.grid, item.block))

        def launch() -> None:
            assert all(array() is not None for array in arrays), f"{kernel}: an array is gone"
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            assert run(grid, block, pointers, self._order) == 0, f"{kernel}: a barrier was missed"

        return launch

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.full(shape, -1, dtype)

    def upload(self, values: Array, to: Array) -> None:
        to[...] = values

    def download(self, values: Array, to: Array) -> None:
        to[...] = values

    def fence(self) -> EmulatedFence:
        self.fences += 1
        return EmulatedFence(self, self.fences, self.done)

    def pointer(self, array: Array) -> int:
        assert array.flags.c_contiguous
        return array.ctypes.data


def check(item: Launch, signatures: dict[str, list[str]], dtype: np.dtype[Any]) -> None:
    """Assert that a launch fits its kernel and CUDA's limits."""
    wanted = signatures[item.kernel]
    assert len(wanted) == len(item.arguments), item
    types = TYPES | {"float": np.float32}
    for kind, argument in zip(wanted, item.arguments, strict=True):
        assert types[kind.rstrip("*")] == argument.dtype, f"{item}: {kind} for {argument.dtype}"
        assert kind.endswith("*") == isinstance(argument, np.ndarray), f"{item}: {kind}"
        assert argument.flags.c_contiguous, f"{item}: gaps in {kind}"
    assert 1 <= np.prod(item.block) <= 1024, item
    assert 1 <= item.grid[0] < 1 << 31, item
    assert all(1 <= size < 1 << 16 for size in item.grid[1:]), item


def multiply(item: Product) -> None:
    a = item.a.swapaxes(-1, -2) if item.transpose_a else item.a
    b = item.b.swapaxes(-1, -2) if item.transpose_b else item.b
    for matrix in (item.a, item.b, item.out):
        assert (matrix[0] if matrix.ndim == 3 else matrix).flags.c_contiguous
    assert item.out.flags.c_contiguous
    np.matmul(a, b, out=item.out)


def multiply_all(items: Iterable[Product]) -> None:
    for item in items:
        multiply(item)


class EmulatedBackend(NumPyBackend):
    """NumPy arrays, with an emulated device that runs queued steps."""

    name = "emulated"

    def __init__(self, dtype: str = "float64", **settings: int) -> None:
        super().__init__(dtype)
        self.emulator = Emulator(dtype, **settings)
        self.xp = RecordingModule(self.emulator)
        self.xp.matmul = self._matmul

    @property
    def launcher(self) -> Launcher:
        return self.emulator

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        found = np.empty(shape, self.dtype if dtype is None else dtype).view(DeviceArray)
        found.launcher = self.emulator
        return found

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        found = self.empty(shape)
        found.fill(value)
        return found

    def _matmul(self, a: Array, b: Array, out: Array) -> object:
        return self.emulator.do(lambda: multiply_all(products(a, b, out)))


def items(plan: LaunchPlan) -> Iterator[str]:
    """Yield what is launched, in order."""
    for item in plan:
        yield item.kernel if isinstance(item, Launch) else type(item).__name__
