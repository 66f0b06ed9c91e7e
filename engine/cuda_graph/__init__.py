"""The step on a GPU: a plan of launches, captured as CUDA graphs, with nothing that waits.

`plan` says what a launch is, `step_plan` and `statistics` list the launches of a step, `launcher`
is what carries them out, `queue` makes the steps and hands their results on as they arrive. The
kernels are in `kernels/`. Nothing here imports cupy: `engine.backends.base` hands it in.

CuPy compiles with `-ftz=true`, its own kernels and these: float32 numbers below 1.2e-38 in size are
0 on a GPU. Gradients that vanish so far count among the zeros there; on NumPy they do not yet.
"""
