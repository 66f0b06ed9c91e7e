"""The source text of all kernels for one dtype."""

import re
from importlib.resources import files
from typing import Any, Final

import numpy as np

PARTS: Final = (
    *("common", "batch", "activations", "normalization", "losses", "optimizers", "statistics"),
)

SCALARS: Final = (
    "rate",
    "momentum",
    "alpha",
    "beta1",
    "beta2",
    "epsilon",
    "weight_decay",
    "l1",
    "clip_value",
    "max_norm",
    "clip_norm",
    "root",
    "shrink",
)
"""The scalars that a step reads from device memory, in float64 and in this order: the current
hyper-parameters and values derived from them (`root`, `shrink`: see `adam` in optimizers.cu)."""

PREFIX: Final = """\
#define REAL {real}
#define INFINITE __longlong_as_double(0x7ff0000000000000ll)
#define NOT_A_NUMBER __longlong_as_double(0x7ff8000000000000ll)
enum {{ {scalars} }};
"""


def source(dtype: np.dtype[Any]) -> str:
    """Return CUDA C++ in which REAL is `dtype` (float32 or float64).

    Comments are removed. CuPy writes the text to a file in the encoding of the locale, so it must
    be ASCII.
    """
    real = {"float32": "float", "float64": "double"}[dtype.name]
    prefix = PREFIX.format(real=real, scalars=", ".join(name.upper() for name in SCALARS))
    folder = files("engine.cuda_graph") / "kernels"
    texts = [(folder / f"{part}.cu").read_text(encoding="utf-8") for part in PARTS]
    return re.sub(r" *//.*", "", "\n".join([prefix, *texts]))
