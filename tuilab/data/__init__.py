"""Data sets on disk: their folder, and their download."""
