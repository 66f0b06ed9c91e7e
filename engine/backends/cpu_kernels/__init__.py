"""Kernels in C for what takes NumPy many passes: compiled where there is a compiler, else not used.

Each does what a formula of the engine does, which stands beside its use and runs where there are
none. They are compiled for this very processor when they are first needed, and kept.
"""
