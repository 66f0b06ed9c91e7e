"""tuilab: see, live in a terminal, why a neural network does or does not learn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuilab.adapters.watch import watch as watch
    from tuilab.adapters.watched_run import Stopped as Stopped
    from tuilab.adapters.watched_run import WatchedRun as WatchedRun

__version__ = "0.3.0"
_PUBLIC = {"watch": "watch", "Stopped": "watched_run", "WatchedRun": "watched_run"}
_FRAMEWORKS = ("keras", "lightning", "transformers")
"""Modules with a callback for a framework, which load that framework."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing tuilab takes no time."""
    from importlib import import_module

    if name in _FRAMEWORKS:
        return import_module(f"tuilab.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tuilab' has no attribute {name!r}")
    return getattr(import_module(f"tuilab.adapters.{_PUBLIC[name]}"), name)
