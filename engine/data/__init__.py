"""Data: sources, preprocessing, augmentation, and batches for a step.

A source or preprocessing step has a file in `sources/` or `preprocessing/`, found through its
registry.
"""
