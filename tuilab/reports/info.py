"""`tuilab info`: what is here, and why something is not."""

import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from engine.backends.base import BACKENDS, make_backend, usable_cores
from engine.backends.cpu_kernels.library import missing
from engine.data.dataset import sources
from engine.errors import BackendError
from tuilab import __version__
from tuilab.data.fetch import CATALOG
from tuilab.data.folder import data_folder
from tuilab.process.launch import Options
from tuilab.reports.run_report import aligned


def collect(directory: str) -> dict[str, Any]:
    """Return versions, back-ends and data sets as plain values; `directory` is --data-dir.

    "kernels" says why there are no compiled ones, and is "" where there are.
    """
    folder = data_folder(directory)
    return {
        "tuilab": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": sorted({lib["internal_api"] for lib in threadpool_info()}),
        "cores": usable_cores(),
        "threads": Options().thread_count(),
        "kernels": missing("float32"),
        "backends": [_backend(name) for name in BACKENDS],
        "data_folder": str(folder),
        "data": {name: sources[name]().is_here(folder) for name in CATALOG},
    }


def _backend(name: str) -> dict[str, Any]:
    try:
        return {"name": name, "ready": True, "device": make_backend(name).device, "problem": ""}
    except BackendError as error:
        return {"name": name, "ready": False, "device": "", "problem": str(error)}


def text(found: dict[str, Any]) -> str:
    """Return what `collect` found, for people."""
    rows = [
        ("tuilab", found["tuilab"]),
        ("python", found["python"]),
        ("numpy", f"{found['numpy']} ({', '.join(found['blas']) or 'no BLAS found'})"),
        ("cores", f"{found['cores']}, of which training takes {found['threads']} by default"),
    ]
    uncompiled = f"NumPy's formulas alone, which are slower: {found['kernels']}"
    rows.append(("kernels", uncompiled if found["kernels"] else "compiled for this processor"))
    for backend in found["backends"]:
        rows.append((backend["name"], backend["device"] or f"not usable: {backend['problem']}"))
    rows.append(("data", found["data_folder"]))
    for name, here in found["data"].items():
        rows.append((name, "here" if here else f"not here (tuilab data fetch {name})"))
    return aligned(rows)
