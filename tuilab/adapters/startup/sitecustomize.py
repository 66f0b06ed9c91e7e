"""Runs in the interpreter of a watched program before the program, which then starts as always.

Python imports `sitecustomize` at its start, and `tuilab.adapters.program` puts this one first on
PYTHONPATH. It puts back what was changed for that, imports the `sitecustomize` that it hides, and
waits for the program to import torch. Nothing here may fail, or import much: a program may be any.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

VARIABLE = "TUILAB_PROGRAM"


class Borrowed:
    """Finds tuilab, and what it needs, in another environment, if this one does not have it."""

    def __init__(self, packages: dict[str, str]) -> None:
        """Find packages, by name, in the folders where they are."""
        self.packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return the spec of one of the packages; all others are left to the program."""
        if name not in self.packages:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.packages[name]])


class TorchFinder:
    """Calls `then` once torch is imported, and leaves no trace of itself."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then
        self.missing = False  # whether torch was looked for in vain
        self._busy = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return the spec that the other finders have for torch."""
        if name != "torch" or self._busy:
            return None
        self._busy = True
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            self._busy = False
        self.missing = spec is None or spec.loader is None
        if spec is not None and spec.loader is not None:  # perhaps only asked for, not imported
            self._wrap(spec.loader)
        return spec

    def _wrap(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: object) -> None:
            del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self.then()

        loader.exec_module = exec_module


class Program:
    """The program that is about to start in this process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.pid = os.getpid()  # a process that is forked off is not watched
        self.problem = ""
        self.finder = TorchFinder(self.watch)

    def say(self, text: str) -> None:
        """Print a line about the watching, not the program."""
        try:
            sys.stderr.write(f"tuilab: {text}\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # closed, or none
            pass

    def begin(self) -> None:
        """Wait for torch, and for the end."""
        sys.meta_path.insert(0, self.finder)
        atexit.register(self.end)
        if self.settings["logged"]:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(line_buffering=True)  # its reader follows the log

    def watch(self) -> None:
        """Look for models and optimisers from now on: torch has just been imported."""
        if os.getpid() != self.pid:
            return
        try:
            self.borrow()
            importlib.import_module("tuilab.adapters.torch.discovery").install(self.settings)
        except ImportError as error:
            wrong = f"{sys.executable} cannot import {error.name or 'tuilab'}"
            self.problem = f"{wrong}; install tuilab there: {sys.executable} -m pip install tuilab"
        except Exception as error:  # noqa: BLE001  (the program must go on)
            self.problem = f"{type(error).__name__}: {error}"
        if self.problem:
            self.say(f"cannot watch the program: {self.problem}")

    def borrow(self) -> None:
        """Use the tuilab that started this program, where its own environment has none."""
        settings = self.settings
        if importlib.util.find_spec("tuilab") is not None:
            return
        tag = sys.implementation.cache_tag
        if tag != settings["interpreter"]:
            raise ImportError(f"tuilab runs on {settings['interpreter']}", name="tuilab")
        sys.meta_path.append(Borrowed(settings["packages"]))

    def end(self) -> None:
        """Explain why nothing was recorded, if nothing was."""
        if os.getpid() != self.pid or self.problem:
            return
        if self.finder in sys.meta_path:
            reason = "the program did not import torch"
            if self.finder.missing:
                reason = f"{sys.executable} has no torch; choose another interpreter with --python"
        else:
            discovery = sys.modules["tuilab.adapters.torch.discovery"]
            reason = discovery.nothing_recorded()
        if reason:
            self.say(f"nothing was recorded: {reason}")


def restore(settings: dict[str, Any]) -> None:
    """Put the environment back as it was before the start."""
    sys.path[:] = [path for path in sys.path if path != settings["startup"]]
    if settings["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = settings["pythonpath"]


def import_hidden() -> None:
    """Import the `sitecustomize` that this one hides, if there is one."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


if VARIABLE in os.environ:
    _settings = json.loads(os.environ.pop(VARIABLE))
    restore(_settings)
    Program(_settings).begin()
    import_hidden()
