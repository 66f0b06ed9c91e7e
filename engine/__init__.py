"""A small neural-network engine that shows what happens inside while it trains.

    from engine import Network, Trainer, mlp
    from engine.activations import Tanh
    from engine.data.sources.digits import Digits

Arrays in, frames out: it knows no terminal, no file format and no database. The names here are
loaded on first use: a command that trains nothing does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.backends import make_backend
    from engine.commands import Command
    from engine.network import Network, mlp
    from engine.training.trainer import Trainer

__all__ = ["Command", "Network", "Trainer", "make_backend", "mlp"]

_HOMES = {
    "Command": "engine.commands",
    "Network": "engine.network",
    "Trainer": "engine.training.trainer",
    "make_backend": "engine.backends",
    "mlp": "engine.network",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
