"""Compiles C to a library for this machine, once; it is stored in the user's cache folder."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

REALS: Final = {
    "float32": {"REAL": "float", "WORD": "int32_t", "DIGITS": 23, "ROOT": "sqrtf", "LOG": "logf"},
    "float64": {"REAL": "double", "WORD": "int64_t", "DIGITS": 52, "ROOT": "sqrt", "LOG": "log"},
}
FLAGS: Final = (
    *("-std=gnu11", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-fopenmp-simd"),
    # Rounding as in NumPy: nothing is fused or reordered. Nothing depends on errno or traps.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
FOR_THIS_PROCESSOR: Final = (("-march=native",), ("-mcpu=native",), ())
"""Flags to try in order: which of them a compiler accepts depends on the processor."""
MARCH: Final = "TUILAB_MARCH"
"""Environment variable with the processors to compile for, as in -march (x86-64-v2)."""
PATIENCE: Final = 60.0  # seconds after which a compiler, which takes one, is stopped
UNUSED: Final = 60 * 86400.0
"""Seconds without use after which a library is deleted, when another is compiled."""


class NotCompiledError(Exception):
    """Kernels cannot be compiled; the message is the reason."""


def source(dtype: str, **constants: float) -> str:
    """Return the text of all kernels for float32 or float64, with these constants defined."""
    folder = files("engine.backends.cpu_kernels") / "kernels"
    defined = {**REALS[dtype], **constants}
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".c")
    }
    return "\n".join(
        [
            *(f"#define {name} {value}" for name, value in defined.items()),
            texts.pop("common.c"),
            *(texts[name] for name in sorted(texts)),
        ]
    )


def library(text: str) -> tuple[ctypes.CDLL, str]:
    """Return `text` as a loaded library, and its name; compile it unless it is in the cache.

    The name depends on text, flags, compiler and processor. Raises NotCompiledError.
    """
    compiler = _compiler()
    identity = [text, *FLAGS, str(_processor_flags()), _version(compiler), _processor()]
    name = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:20]
    cached = user_cache_path("tuilab", appauthor=False) / f"kernels-{name}.so"
    with suppress(OSError):
        return _loaded(cached), name
    with tempfile.TemporaryDirectory(prefix="tuilab-") as folder:
        compiled = _compiled(compiler, text, Path(folder))
        # If the cache cannot be written, every process compiles the library. The cache comes first
        # because loading a library from a temporary folder may be forbidden.
        with suppress(OSError):
            _store(compiled, cached)
            return _loaded(cached), name
        try:
            return _loaded(compiled), name
        except OSError as error:
            reason = f"the library that {compiler[0]} compiled cannot be loaded: {error}"
            raise NotCompiledError(reason) from error


def _loaded(path: Path) -> ctypes.CDLL:
    """Load a library of this user. Raises OSError."""
    if path.stat().st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    return ctypes.CDLL(str(path))


def _store(compiled: Path, cached: Path) -> None:
    """Copy the library completely or not at all, whatever other processes or a power failure do.

    A truncated library would not fail to load: it would crash the process that loads it.
    """
    cached.parent.mkdir(parents=True, exist_ok=True)
    for old in cached.parent.glob("kernels-*.so"):  # of versions that are no longer used
        if time.time() - old.stat().st_atime > UNUSED:
            old.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=cached.parent, prefix=cached.stem, delete=False
    ) as partial:
        try:
            partial.write(compiled.read_bytes())
            partial.flush()
            os.fsync(partial.fileno())
            Path(partial.name).replace(cached)
        finally:
            Path(partial.name).unlink(missing_ok=True)


def _compiler() -> list[str]:
    """Return the command of the compiler: $CC, which may have arguments, or an installed one."""
    try:
        from_environment = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise NotCompiledError(f"CC is not a command: {error}") from error
    for words in (from_environment, ["cc"], ["gcc"], ["clang"]):
        if words and (path := shutil.which(words[0])) is not None:
            if sys.platform == "darwin" and not _developer_tools():
                raise NotCompiledError(
                    "there is no C compiler: install one with xcode-select --install"
                )
            return [path, *words[1:]]
    raise NotCompiledError("there is no C compiler (cc, gcc or clang)")


def _developer_tools() -> bool:
    """Return whether cc of macOS is a compiler rather than a stub that offers to install one."""
    return _run(["xcode-select", "-p"], Path.cwd()).returncode == 0


def _compiled(compiler: Sequence[str], text: str, folder: Path) -> Path:
    """Compile into `folder`; return the library."""
    (folder / "kernels.c").write_text(text, encoding="utf-8")
    library, message = folder / "kernels.so", ""
    for flags in _processor_flags():
        command = [*compiler, *FLAGS, *flags, "kernels.c", "-o", library.name, "-lm"]
        done = _run(command, folder)
        if done.returncode == 0 and library.exists():
            return library
        if done.returncode < 0:  # by a signal, which says nothing about the flags
            raise NotCompiledError(f"{compiler[0]} was killed")
        lines = done.stderr.splitlines()
        message = next((line for line in lines if "error" in line), done.stderr)
    raise NotCompiledError(
        f"{compiler[0]} cannot compile the kernels: {message.strip() or 'no message'}"
    )


def _processor_flags() -> Sequence[Sequence[str]]:
    """Return the flags to try: for the processors named by MARCH, or for this one."""
    march = os.environ.get(MARCH, "")
    return ((f"-march={march}",),) if march else FOR_THIS_PROCESSOR


def _run(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},  # so that errors are reported as "error"
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiledError(f"{command[0]} cannot be run: {error}") from error


def _version(compiler: Sequence[str]) -> str:
    """Return what distinguishes a compiler and its C library from others with the same name."""
    paths = [path for word in compiler if (path := shutil.which(word)) is not None]
    dates = [f"{stat.st_size} {stat.st_mtime_ns}" for stat in map(os.stat, paths)]
    return " ".join([*compiler, *dates, *platform.libc_ver()])


def _processor() -> str:
    """Return what distinguishes this processor from others that may share the cache."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        keys = ("model name", "flags", "Features", "CPU part", "isa")
        lines = text.split("\n\n", maxsplit=1)[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(keys))
    return " ".join(platform.uname())
