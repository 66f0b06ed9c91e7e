"""The views of one layer."""
