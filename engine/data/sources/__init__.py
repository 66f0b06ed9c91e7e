"""Data sources, one file each: what a file registers is found without being named elsewhere."""
