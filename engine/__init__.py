"""A small neural-network engine that shows what happens inside while it trains.

    from engine import Network, Trainer, mlp
    from engine.activations import Tanh
    from engine.data.digits import Digits

Arrays in, frames out: it knows no terminal, no file format and no database.
"""

from engine.backend import make_backend
from engine.network import Network, mlp
from engine.trainer import Command, Trainer

__all__ = ["Command", "Network", "Trainer", "make_backend", "mlp"]
