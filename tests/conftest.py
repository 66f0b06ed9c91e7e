"""What holds for all tests."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

# BLAS threads wait by spinning: on a busy machine two of them are twenty times slower than one.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")  # nothing looks at what is on its way

# The tests start hundreds of processes. Where Python writes no bytecode, as in many containers,
# each compiles the whole program again, which takes three times as long as loading it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while modules are imported and tests created: none of it is garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect the objects of tests only, and seldom, instead of everything that was imported.

    A change between two steps of a run asks it to collect, which took half a second each time. A
    screen creates many objects; collecting them took a fifth of the time.
    """
    _forget()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After each file, free its networks and screens, and skip what is left from now on.

    Otherwise, a process grew to 4 GB, and a change between two steps took 0.2 s again.
    """
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            _forget()


def _forget() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)  # a view sets others
