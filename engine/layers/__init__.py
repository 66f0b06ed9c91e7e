"""Layers, one file each, found through the registry `engine.layers.base.layers`.

A file here that registers a layer needs no entry anywhere else. Shards, threads and parameters of
a whole network belong in `engine.network`.
"""
