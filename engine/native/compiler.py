"""From C to a library of this machine: made once, and kept in the user's cache."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

PARTS: Final = ("common", "activations", "batch_norm", "losses", "optimizers", "statistics")
PREFIXES: Final = {
    "float32": "#define REAL float\n#define ROOT sqrtf\n#define EXP expf\n#define LOG logf\n",
    "float64": "#define REAL double\n#define ROOT sqrt\n#define EXP exp\n#define LOG log\n",
}
FLAGS: Final = (
    *("-std=gnu11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-fopenmp-simd"),
    # As NumPy computes: nothing fused, nothing reordered; but nobody looks at errno or traps.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
FOR_THIS_PROCESSOR: Final = (("-march=native",), ("-mcpu=native",), ())
"""Flags to try, one after the other: which of them a compiler knows depends on the processor."""
PATIENCE: Final = 60.0  # seconds for a compiler, which needs one


class NotCompiledError(Exception):
    """There are no compiled kernels here; its text says why."""


def source(dtype: str) -> str:
    """Return the text of all kernels, for float32 or float64."""
    folder = files("engine.native") / "kernels"
    texts = [(folder / f"{part}.c").read_text(encoding="utf-8") for part in PARTS]
    return "\n".join([PREFIXES[dtype], *texts])


def library(text: str) -> tuple[ctypes.CDLL, str]:
    """Return `text` as a loaded library, compiled unless that was done before on this machine.

    Its name tells it from what another text, compiler or processor would make. Raises
    NotCompiledError.
    """
    compiler = _compiler()
    made_of = "\n".join([text, *FLAGS, str(FOR_THIS_PROCESSOR), compiler, _processor()])
    name = hashlib.sha256(made_of.encode()).hexdigest()[:20]
    kept = user_cache_path("tuilab", appauthor=False) / f"kernels-{name}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(kept)), name
    with tempfile.TemporaryDirectory(prefix="tuilab-") as folder:
        made = _compiled(compiler, text, Path(folder))
        with suppress(OSError):  # a cache that cannot be written is none: it is made anew each time
            _keep(made, kept)
        try:
            return ctypes.CDLL(str(made)), name
        except OSError as error:
            raise NotCompiledError(f"what {compiler} made cannot be loaded: {error}") from error


def _keep(made: Path, kept: Path) -> None:
    """Copy `made` whole or not at all: others may look for it at any moment."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    try:
        shutil.copyfile(made, partial)
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _compiler() -> str:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)) is not None:
            if sys.platform == "darwin" and not _developer_tools():
                break
            return found
    raise NotCompiledError("there is no C compiler (cc, gcc or clang)")


def _developer_tools() -> bool:
    """Tell whether cc of macOS is a compiler, and not what asks in a window to install one."""
    asked = subprocess.run(["xcode-select", "-p"], capture_output=True, check=False)
    return asked.returncode == 0


def _compiled(compiler: str, text: str, folder: Path) -> Path:
    """Compile into `folder`; return the library."""
    (folder / "kernels.c").write_text(text, encoding="utf-8")
    made, said = folder / "kernels.so", ""
    for flags in FOR_THIS_PROCESSOR:
        command = [compiler, *FLAGS, *flags, "kernels.c", "-o", made.name, "-lm"]
        done = _run(command, folder)
        if done.returncode == 0 and made.exists():
            return made
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
    raise NotCompiledError(f"{compiler} cannot compile them: {said.strip() or 'it says nothing'}")


def _run(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiledError(f"{command[0]} cannot be run: {error}") from error


def _processor() -> str:
    """Return what tells this processor from others that may share the cache."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        wanted = ("model name", "flags", "Features", "CPU part", "isa")
        lines = told.split("\n\n", maxsplit=1)[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(wanted))
    return " ".join(platform.uname())
