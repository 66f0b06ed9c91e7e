"""NVRTC compiles every kernel for a GPU, which it can do without one."""

import re

import numpy as np
import pytest

from engine.gpu.sources import source
from tests.engine.gpu.emulator import compiled

ARCHITECTURES = ("sm_70", "sm_90")  # the oldest that a CuPy 14 wheel runs on, and an H100


def cubin(text: str, architecture: str) -> bytes:
    nvrtc = pytest.importorskip(
        "cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed, which brings NVRTC"
    )
    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError) as error:  # its library is not found
        pytest.skip(f"NVRTC is not here: {error}")
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"--gpu-architecture={architecture}", "--std=c++17"])
    except nvrtc.NVRTCError as error:
        raise AssertionError(nvrtc.getProgramLog(program)) from error
    return bytes(nvrtc.getCUBIN(program))


@pytest.mark.filterwarnings("ignore::UserWarning")  # that no CUDA path was found
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_compiles(dtype: str, architecture: str) -> None:
    code = cubin(source(np.dtype(dtype)), architecture)
    for kernel in compiled(dtype).signatures:
        assert re.search(rb"\.text\." + kernel.encode() + rb"\0", code), kernel


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mistake_is_found() -> None:
    text = source(np.dtype("float32")).replace("atomicAdd(arrived, 1)", "atomicAdd(arrived)")
    with pytest.raises(AssertionError, match="no instance of overloaded function"):
        cubin(text, "sm_90")
