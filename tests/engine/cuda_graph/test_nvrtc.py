"""NVRTC compiles every kernel for a GPU, which it can do without one."""

import re

import numpy as np
import pytest

from engine.cuda_graph.sources import source

TARGETS = [("float32", "sm_70"), ("float32", "sm_90"), ("float64", "sm_90")]
"""An H100 is sm_90; sm_70 is the oldest with independent threads in a warp."""
OPTIONS = ["--std=c++17", "-ftz=true", "--device-as-default-execution-space"]
"""Ours, and what CuPy adds to it."""


def cubin(text: str, architecture: str) -> bytes:
    nvrtc = pytest.importorskip(
        "cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed, which brings NVRTC"
    )
    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError) as error:  # its library is not found
        pytest.skip(f"NVRTC is not here: {error}")
    if int(architecture.removeprefix("sm_")) not in nvrtc.getSupportedArchs():
        pytest.skip(f"this NVRTC compiles for {architecture} no more")
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={architecture}", *OPTIONS])
    except nvrtc.NVRTCError as error:
        raise AssertionError(nvrtc.getProgramLog(program)) from error
    return bytes(nvrtc.getCUBIN(program))


@pytest.mark.filterwarnings("ignore::UserWarning")  # that no CUDA path was found
@pytest.mark.parametrize(("dtype", "architecture"), TARGETS)
def test_every_kernel_compiles(dtype: str, architecture: str) -> None:
    text = source(np.dtype(dtype))
    code = cubin(text, architecture)
    kernels = re.findall(r'^extern "C" __global__ void (\w+)\(', text, re.MULTILINE)
    kernels += re.findall(r"^LOSS\((\w+),", text, re.MULTILINE)
    for name in re.findall(r"^ACTIVATION\((\w+),", text, re.MULTILINE):
        kernels += [f"{name}_forward", f"{name}_backward"]
    assert len(kernels) > 30
    for kernel in kernels:
        assert re.search(rb"\.text\." + kernel.encode() + rb"\0", code), kernel


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mistake_is_found() -> None:
    text = source(np.dtype("float32")).replace("atomicAdd(arrived, 1)", "atomicAdd(arrived)")
    with pytest.raises(AssertionError, match="no instance of overloaded function"):
        cubin(text, "sm_90")
