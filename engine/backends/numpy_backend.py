"""Arrays in main memory: NumPy, with compiled kernels where there are any."""

import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.backends.base import Array, BackendBase, Host, StepLauncher
from engine.backends.cpu_kernels.library import Kernels
from engine.backends.threads import ThreadTeam


class NumPyBackend(BackendBase):
    """NumPy arrays, `threads` that share large work, and `kernels` that replace slow formulas."""

    name = "numpy"
    xp: Any = np
    device = f"CPU ({platform.machine()})"
    block = 1 << 17
    """Enough that the overhead of calls does not count and threads do not wait for Python's
    lock."""

    def __init__(self, dtype: str, threads: int = 1, kernels: Kernels | None = None) -> None:
        super().__init__(dtype)
        self.thread_team, self._kernels = ThreadTeam(threads), kernels

    @property
    def software(self) -> str:
        compiled = "formulas" if self._kernels is None else f"kernels {self._kernels.name}"
        return f"numpy {np.__version__}, {compiled}"

    @property
    def launcher(self) -> StepLauncher | None:
        return None

    def to_host(self, values: Array) -> Host:
        return np.asarray(values)

    def take_rows(self, source: Array, rows: Array, out: Array) -> None:
        # mode="raise" would gather into a temporary array first, to leave `out` alone on an error.
        np.take(source, rows, axis=0, out=out, mode="clip")

    def kernel(
        self, name: str, *fixed: Any, sizes: Sequence[int] = ()
    ) -> Callable[..., Any] | None:
        return None if self._kernels is None else self._kernels.bind(name, *fixed, sizes=sizes)
