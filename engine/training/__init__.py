"""Training: the loop and all that it is made of: a step, its runner, statistics, checkpoints.

`Trainer` is the one object that a user of the library knows. How a device runs steps ahead of the
host is in `engine.cuda_graph`, which a back-end injects.
"""
