"""Numbers of tensors: arrays in, frames of host data out. Imports NumPy only."""
