"""Kernels in C for formulas that take NumPy many passes, compiled if there is a compiler.

Each kernel replaces a formula of the engine, which is written where the kernel is used and runs if
there are none. Kernels are compiled for this processor on first use and cached.
"""
