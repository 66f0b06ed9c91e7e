"""The array libraries, threads and compiled kernels that formulas run on."""
