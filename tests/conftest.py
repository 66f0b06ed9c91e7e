"""What holds for all tests."""

import gc
import os

# BLAS threads wait by spinning: on a busy machine two of them are twenty times slower than one.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")  # nothing looks at what is on its way


def pytest_collection_finish() -> None:
    """Collect the objects of tests only, and seldom, instead of everything that was imported.

    A change between two steps of a run asks it to collect, which took half a second each time. A
    screen creates many objects; collecting them took a fifth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
