"""What is timed against peers and against the ways not taken; never part of the tests."""

import os

# Read when NumPy is loaded, so it is set here, as `tuilab.process.launch` does for its processes.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
