"""The one tree of errors that tuilab raises on purpose.

    TuilabError                 anything a user can mend; the message says where, what and how
    ├── ConfigError             a value is not allowed (carries the key path where it stands)
    │   └── UnknownNameError    a name that no registry knows (carries the nearest one)
    ├── ShapeError              layers, data and labels that do not fit together
    ├── DataError               a data set that is missing, short or malformed
    ├── CheckpointError         a checkpoint that is damaged, or of another run
    └── BackendError            an array library or device that is not there

`tuilab.errors` adds the application's own branches. Each class knows the exit code of the
command that fails with it; `tuilab.cli.main` catches the root, once.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class TuilabError(Exception):
    """Root of the tree: the message is written for the person at the terminal."""

    exit_code: ClassVar[int] = 2


class ConfigError(TuilabError):
    """A setting has a value that is not allowed; `path` is its key path, `""` when unknown."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def under(self, *keys: str) -> "ConfigError":
        """Return the same error, told from further out: `keys` go before its path."""
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
    """A checkpoint that is damaged, none of ours, or of another run."""


class BackendError(TuilabError):
    """An array library or a device that is not available here."""


class NotPlannedError(BackendError):
    """A step that a device cannot run as a whole, and why; it is run operation by operation."""


def unknown_name(kind: str, name: object, allowed: Iterable[str]) -> str:
    """Say that `name` is no known `kind`, what is, and which one was probably meant."""
    names = sorted(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'{hint} (allowed: {', '.join(names) or 'none'})"


def require(condition: bool, key: str, message: str) -> None:
    """Raise ConfigError at `key` unless `condition` holds: the members' own validation."""
    if not condition:
        raise ConfigError(message, key)
