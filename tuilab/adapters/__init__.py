"""Watchers: they record the training programs of others, PyTorch first.

A watcher follows a training loop by hooks, measures with `engine.statistics`, and writes with
`tuilab.record` like any other source. What belongs here: what ties one framework to `WatchedRun`.
What does not: anything that looks at a run. A framework is imported only where the program uses it.
"""
