"""From C to a library of this machine: made once, and kept in the user's cache."""

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
    # As NumPy computes: nothing fused, nothing reordered; but nobody looks at errno or traps.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
FOR_THIS_PROCESSOR: Final = (("-march=native",), ("-mcpu=native",), ())
"""Flags to try, one after the other: which of them a compiler knows depends on the processor."""
MARCH: Final = "TUILAB_MARCH"
"""Environment variable: the processors to compile for, as -march names them (x86-64-v2)."""
PATIENCE: Final = 60.0  # seconds for a compiler, which needs one
UNUSED: Final = 60 * 86400.0
"""Seconds after which a library that nobody has loaded is deleted, when another is made."""


class NotCompiledError(Exception):
    """There are no compiled kernels here; its text says why."""


def source(dtype: str, **constants: float) -> str:
    """Return the text of all kernels, for float32 or float64; it has these constants."""
    folder = files("engine.backends.cpu_kernels") / "kernels"
    defined = {**REALS[dtype], **constants}
    texts = {
        each.name: each.read_text(encoding="utf-8")
        for each in folder.iterdir()
        if each.name.endswith(".c")
    }
    return "\n".join(
        [
            *(f"#define {name} {value}" for name, value in defined.items()),
            texts.pop("common.c"),
            *(texts[name] for name in sorted(texts)),
        ]
    )


def library(text: str) -> tuple[ctypes.CDLL, str]:
    """Return `text` as a loaded library, compiled unless that was done before on this machine.

    Its name tells it from what another text, compiler or processor would make. Raises
    NotCompiledError.
    """
    compiler = _compiler()
    made_of = [text, *FLAGS, str(_processor_flags()), _version(compiler), _processor()]
    name = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:20]
    kept = user_cache_path("tuilab", appauthor=False) / f"kernels-{name}.so"
    with suppress(OSError):
        return _loaded(kept), name
    with tempfile.TemporaryDirectory(prefix="tuilab-") as folder:
        made = _compiled(compiler, text, Path(folder))
        # A cache that cannot be written is none: it is made anew each time. What is in it comes
        # first, for libraries in a folder for temporary files may be forbidden.
        with suppress(OSError):
            _keep(made, kept)
            return _loaded(kept), name
        try:
            return _loaded(made), name
        except OSError as error:
            raise NotCompiledError(f"what {compiler[0]} made cannot be loaded: {error}") from error


def _loaded(path: Path) -> ctypes.CDLL:
    """Load a library that we wrote; raises OSError."""
    if path.stat().st_uid != os.geteuid():
        raise PermissionError(f"{path} is another's")
    return ctypes.CDLL(str(path))


def _keep(made: Path, kept: Path) -> None:
    """Copy `made` whole or not at all: others may look for it, and the power may fail, any moment.

    A library that is cut short does not fail to load: it ends the process that does.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    for old in kept.parent.glob("kernels-*.so"):  # of versions that nobody runs any more
        if time.time() - old.stat().st_atime > UNUSED:
            old.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=kept.stem, delete=False) as partial:
        try:
            partial.write(made.read_bytes())
            partial.flush()
            os.fsync(partial.fileno())
            Path(partial.name).replace(kept)
        finally:
            Path(partial.name).unlink(missing_ok=True)


def _compiler() -> list[str]:
    """Return the command that compiles: what CC says ("ccache gcc" too), or what is found."""
    try:
        wanted = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise NotCompiledError(f"CC is no command: {error}") from error
    for words in (wanted, ["cc"], ["gcc"], ["clang"]):
        if words and (found := shutil.which(words[0])) is not None:
            if sys.platform == "darwin" and not _developer_tools():
                raise NotCompiledError("there is no C compiler: xcode-select --install gets one")
            return [found, *words[1:]]
    raise NotCompiledError("there is no C compiler (cc, gcc or clang)")


def _developer_tools() -> bool:
    """Tell whether cc of macOS is a compiler, and not what asks in a window to install one."""
    return _run(["xcode-select", "-p"], Path.cwd()).returncode == 0


def _compiled(compiler: Sequence[str], text: str, folder: Path) -> Path:
    """Compile into `folder`; return the library."""
    (folder / "kernels.c").write_text(text, encoding="utf-8")
    made, said = folder / "kernels.so", ""
    for flags in _processor_flags():
        command = [*compiler, *FLAGS, *flags, "kernels.c", "-o", made.name, "-lm"]
        done = _run(command, folder)
        if done.returncode == 0 and made.exists():
            return made
        if done.returncode < 0:  # by a signal: nothing is known of the flags
            raise NotCompiledError(f"{compiler[0]} was killed")
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
    raise NotCompiledError(
        f"{compiler[0]} cannot compile them: {said.strip() or 'it says nothing'}"
    )


def _processor_flags() -> Sequence[Sequence[str]]:
    """Return the flags to try: for the processors that MARCH names, else for this one."""
    march = os.environ.get(MARCH, "")
    return ((f"-march={march}",),) if march else FOR_THIS_PROCESSOR


def _run(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},  # for an "error" that is called so
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiledError(f"{command[0]} cannot be run: {error}") from error


def _version(compiler: Sequence[str]) -> str:
    """Return what tells a compiler, and what it links to, from others of its name."""
    found = [Path(each).stat() for word in compiler if (each := shutil.which(word)) is not None]
    dates = [f"{each.st_size} {each.st_mtime_ns}" for each in found]
    return " ".join([*compiler, *dates, *platform.libc_ver()])


def _processor() -> str:
    """Return what tells this processor from others that may share the cache."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        wanted = ("model name", "flags", "Features", "CPU part", "isa")
        lines = told.split("\n\n", maxsplit=1)[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(wanted))
    return " ".join(platform.uname())
