"""The layers, one file each: what a file here registers is found without being named elsewhere."""
