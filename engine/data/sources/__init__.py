"""Data sources, one file each, found through the registry `engine.data.dataset.sources`."""
