"""The tree of errors that tuilab raises on purpose.

    TuilabError                 anything a user can fix; the message says where, what and how
    ├── ConfigError             a value that is not allowed (carries its key path)
    │   └── UnknownNameError    a name that no registry knows (suggests the nearest one)
    ├── ShapeError              layers, data and labels that do not fit together
    ├── DataError               a data set that is missing, short or malformed
    ├── CheckpointError         a checkpoint that is damaged or belongs to another run
    └── BackendError            an array library or device that is not available
        ├── NoGPUError          CuPy, the driver or a GPU is not installed
        ├── NotPlannedError     a step that a device cannot run as a whole
        └── DeviceLostError     a GPU that this process cannot use any more

`tuilab.errors` adds the application's own branches. Each class has the exit code of the command
that fails with it; `tuilab.cli.main` catches the root, once.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class TuilabError(Exception):
    """Root of the tree; the message is for the person at the terminal."""

    exit_code: ClassVar[int] = 2


class ConfigError(TuilabError):
    """A setting has a value that is not allowed; `path` is its key path, `""` if unknown."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def under(self, *keys: str) -> "ConfigError":
        """Return the same error with `keys` before its path."""
        return ConfigError(self.message, ".".join(key for key in (*keys, self.path) if key))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class UnknownNameError(ConfigError):
    """A name that is not among the allowed ones."""

    def __init__(self, kind: str, name: object, allowed: Iterable[str], path: str = "") -> None:
        super().__init__(unknown_name(kind, name, allowed), path)


class ShapeError(TuilabError):
    """Shapes that do not fit together."""


class DataError(TuilabError):
    """Data that is missing, short or malformed."""


class CheckpointError(TuilabError):
    """A checkpoint that is damaged, not tuilab's, or of another run."""


class BackendError(TuilabError):
    """An array library or a device that is not available here."""


class NoGPUError(BackendError):
    """CuPy, the driver or a GPU is not installed, which is not a fault of this machine."""


class NotPlannedError(BackendError):
    """A step that a device cannot run as a whole, and why; it is run operation by operation."""


class DeviceLostError(BackendError):
    """A CUDA error after which this process cannot use the device in any way."""

    def __init__(self, error: object) -> None:
        super().__init__(
            f"the GPU failed ({error}), and this process cannot use it any more; "
            "resume the run from its last checkpoint, or train with --backend numpy"
        )


def unknown_name(kind: str, name: object, allowed: Iterable[str]) -> str:
    """Return the message for an unknown `name`, with the allowed ones and the nearest match."""
    names = sorted(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'{hint} (allowed: {', '.join(names) or 'none'})"


def require(condition: bool, key: str, message: str) -> None:
    """Raise ConfigError at `key` unless `condition` holds."""
    if not condition:
        raise ConfigError(message, key)
