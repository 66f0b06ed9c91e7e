"""A network of layers, bound to its parameters; what theory expects of its signals.

How a layer computes belongs in `engine.layers`, how its parameters change in `engine.optimization`.
"""

from engine.network.bound_network import BoundNetwork
from engine.network.mlp import activation_choices, mlp
from engine.network.network import Network

__all__ = ["BoundNetwork", "Network", "activation_choices", "mlp"]
