"""The step on a GPU: a plan of launches, captured as CUDA graphs, with nothing that waits.

`plan` says what a launch is, `step_plan` and `statistics` list the launches of a step, `launcher`
is what carries them out, `queue` makes the steps and hands their results on as they arrive. The
kernels are in `kernels/`. Nothing here imports cupy: `engine.backends.base` hands it in.
"""
