"""Data sets on disk: where they are and how they are fetched."""
