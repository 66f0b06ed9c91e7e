"""tuilab: see, live in a terminal, why a neural network does or does not learn."""

__version__ = "0.2.0"
