"""A training step on a GPU: a plan of launches, captured as CUDA graphs that nothing waits for.

`plan` defines launches, `step_plan` and `statistics` list the launches of a step, `launcher`
executes them, and `step_queue` submits steps and returns their results as they arrive. The kernels
are in `kernels/`. Nothing here imports cupy: `engine.backends.cupy_backend` passes it in.

CuPy compiles all kernels with `-ftz=true`: on a GPU, float32 numbers smaller than 1.2e-38 are 0.
Gradients that vanish that far are counted as zeros there, but not by NumPy.
"""
