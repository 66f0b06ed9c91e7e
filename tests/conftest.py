"""What holds for all tests."""

import os

# BLAS threads wait by spinning: on a busy machine two of them are twenty times slower than one.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
