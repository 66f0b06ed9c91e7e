"""What carries a plan out: a GPU's driver, or in tests something that takes its place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from engine.backends.base import Array, Host
from engine.cuda_graph.plan import LaunchPlan
from engine.errors import NotPlannedError
from engine.training.step_runner import StepRunner
from engine.training.training_step import TrainingStep


class Fence(Protocol):
    """A point in the order of what the device was asked to do."""

    @property
    def done(self) -> bool:
        """Whether the device has come so far."""

    def wait(self) -> None:
        """Wait until it has."""

    def seconds_since(self, earlier: Any) -> float:
        """Device time between two marks of one launcher that are done."""


class Launcher(Protocol):
    """Asks the device for things in order; only `run`, `check` and `Fence.wait` wait for them.

    Whatever is called may raise DeviceLostError for something that was asked for before.
    """

    def step_runner(self, step: TrainingStep) -> StepRunner:
        """Return what runs the steps of `step` ahead of the host.

        Raises NotPlannedError where the device cannot run it as a whole.
        """

    def run(self, plan: LaunchPlan) -> None:
        """Launch the items one after the other, and wait: a kernel's fault shows only then."""

    def capture(self, plan: LaunchPlan) -> Callable[[], None]:
        """Return what launches them all at once, again and again: a CUDA graph."""

    def check(self) -> None:
        """Raise DeviceLostError if the device cannot be used any more."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Host:
        """Allocate host memory that the device copies to and from on its own."""

    def upload(self, values: Host, to: Array) -> None:
        """Have pinned `values` copied to the device; they must stay until that is done."""

    def download(self, values: Array, to: Host) -> None:
        """Have device `values` copied to pinned memory."""

    def mark(self) -> Fence:
        """Return a mark behind all that was asked for until now."""

    def pointer(self, array: Array) -> int:
        """Return the device address of a C-contiguous array."""


@contextmanager
def refusing(launcher: Launcher) -> Iterator[None]:
    """Turn whatever fails within into NotPlannedError; into DeviceLostError if the device is lost.

    Errors of CuPy, NVRTC and cuBLAS, a device that is out of memory, sizes that overflow: the step
    can be made operation by operation all the same.
    """
    try:
        yield
    except Exception as error:
        launcher.check()
        if isinstance(error, NotPlannedError):
            raise
        reason = str(error) or type(error).__name__
        raise NotPlannedError(f"CUDA did not take the step: {reason}") from error
