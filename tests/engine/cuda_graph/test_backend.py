"""Finding a GPU: what is missing or broken is reported in words, and `auto` keeps the reason."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.backends import NumPyBackend, make_backend
from engine.errors import BackendError


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of CUDA."""


class Cupy:
    """As much of CuPy as is asked before it is taken; each attribute can be made to fail."""

    __version__ = "14.2.0"
    devices, driver, factor = 1, 13000, 1.0
    fault: Exception | None = None

    def __init__(self) -> None:
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=self._count,
            driverGetVersion=lambda: self.driver,
        )
        self.cuda = SimpleNamespace(runtime=runtime)

    def _count(self) -> int:
        if self.devices < 0:
            raise CUDARuntimeError("driver version is insufficient")
        return self.devices

    def arange(self, *limits: int, dtype: Any) -> Any:
        return np.arange(*limits, dtype=dtype)

    def matmul(self, a: Any, b: Any) -> Any:
        if self.fault:
            raise self.fault
        product = self.factor * (a @ b)
        return SimpleNamespace(get=lambda: product)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Cupy:
    made = Cupy()
    monkeypatch.setitem(sys.modules, "cupy", made)
    return made


def test_a_gpu_that_works_is_taken(cupy: Cupy) -> None:
    backend = make_backend("auto")
    assert (backend.name, backend.instead) == ("cupy", "")


FAULTS = [
    ({"fault": ImportError("libcublas.so.13")}, "cannot multiply on it: libcublas.so.13"),
    ({"factor": 2.0}, r"wrong products: \[\[44.0, 56.0\]"),
    ({"devices": -1}, "no usable NVIDIA driver"),
]


@pytest.mark.parametrize(("faults", "words"), FAULTS)
def test_auto_keeps_what_is_wrong_with_a_gpu(
    cupy: Cupy, faults: dict[str, Any], words: str
) -> None:
    vars(cupy).update(faults)
    with pytest.raises(BackendError, match=words):
        make_backend("cupy")
    backend = make_backend("auto")
    assert backend.name == "numpy"
    with pytest.raises(BackendError, match=words):
        raise BackendError(backend.instead)


@pytest.mark.parametrize("faults", [{"devices": 0}, {"devices": -1, "driver": 0}])
def test_without_a_gpu_there_is_nothing_to_say(cupy: Cupy, faults: dict[str, Any]) -> None:
    vars(cupy).update(faults)
    with pytest.raises(BackendError):
        make_backend("cupy")
    assert make_backend("auto").instead == ""


def test_without_cupy_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match="CuPy, which is not here"):
        make_backend("cupy")
    assert isinstance(make_backend("auto"), NumPyBackend)
    assert make_backend("auto").instead == ""
