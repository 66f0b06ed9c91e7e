"""`tuilab info`: versions, back-ends and data sets on this machine."""

import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from engine.backends import BACKENDS, make_backend
from engine.backends.cpu_kernels.library import missing
from engine.backends.threads import usable_cores
from engine.data.dataset import sources
from engine.errors import BackendError
from tuilab import __version__
from tuilab.data.fetch import CATALOG
from tuilab.data.folder import data_folder
from tuilab.process.launch import Options
from tuilab.reports.run_report import aligned


def collect(directory: str) -> dict[str, Any]:
    """Return versions, back-ends and data sets as plain values; `directory` is --data-dir.

    "kernels" is the reason why there are no compiled kernels, or "" if there are.
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


def text(values: dict[str, Any]) -> str:
    """Return the values of `collect` as a table."""
    rows = [
        ("tuilab", values["tuilab"]),
        ("python", values["python"]),
        ("numpy", f"{values['numpy']} ({', '.join(values['blas']) or 'no BLAS'})"),
        ("cores", f"{values['cores']}, of which training uses {values['threads']} by default"),
    ]
    uncompiled = f"not compiled, so NumPy is used, which is slower: {values['kernels']}"
    rows.append(("kernels", uncompiled if values["kernels"] else "compiled for this processor"))
    for backend in values["backends"]:
        rows.append((backend["name"], backend["device"] or f"not available: {backend['problem']}"))
    rows.append(("data", values["data_folder"]))
    for name, available in values["data"].items():
        rows.append(
            (name, "available" if available else f"not downloaded (tuilab data fetch {name})")
        )
    return aligned(rows)
