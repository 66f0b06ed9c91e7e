"""What executes a plan: the driver of a GPU, or in tests an emulator."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from engine.backends.base import Array, Host
from engine.cuda_graph.plan import LaunchPlan
from engine.errors import NotPlannedError
from engine.training.step_runner import StepRunner
from engine.training.training_step import TrainingStep


class Fence(Protocol):
    """A point in the sequence of operations that were given to a device."""

    @property
    def done(self) -> bool:
        """Whether the device has reached it."""

    def wait(self) -> None:
        """Wait until the device has reached it."""

    def seconds_since(self, earlier: Any) -> float:
        """Return the device time between two fences of one launcher that are done."""


class Launcher(Protocol):
    """Gives operations to a device in order; only `run`, `check` and `Fence.wait` wait for them.

    Every method may raise DeviceLostError because of an operation that was given earlier.
    """

    def step_runner(self, step: TrainingStep) -> StepRunner:
        """Return what runs the steps of `step` ahead of the host.

        Raises NotPlannedError where the device cannot run it as a whole.
        """

    def run(self, plan: LaunchPlan) -> None:
        """Launch the items one after the other, and wait: only then does a faulty kernel show."""

    def capture(self, plan: LaunchPlan) -> Callable[[], None]:
        """Return a function that launches all items at once: a CUDA graph."""

    def check(self) -> None:
        """Wait for the device. Raises DeviceLostError if it cannot be used any more."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Host:
        """Allocate page-locked host memory, which the device copies to and from by itself."""

    def upload(self, values: Host, to: Array) -> None:
        """Start to copy pinned `values` to the device; they must not change until it is done."""

    def download(self, values: Array, to: Host) -> None:
        """Start to copy device `values` to pinned memory."""

    def fence(self) -> Fence:
        """Return a fence after all operations that were given so far."""

    def pointer(self, array: Array) -> int:
        """Return the device address of a C-contiguous array."""


@contextmanager
def refusing(launcher: Launcher) -> Iterator[None]:
    """Raise NotPlannedError for any error in the block, or DeviceLostError if the device is lost.

    After an error of CuPy, NVRTC or cuBLAS, a lack of memory or a size that overflows, the step can
    still run operation by operation.
    """
    try:
        yield
    except Exception as error:
        launcher.check()
        if isinstance(error, NotPlannedError):
            raise
        reason = str(error) or type(error).__name__
        raise NotPlannedError(f"the step could not be captured: {reason}") from error
