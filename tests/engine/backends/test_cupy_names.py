"""What the engine calls on its array module is there in CuPy too, with the arguments it gives.

A machine without a GPU can check so much, wherever the cupy wheel is installed; that the numbers
agree is seen by the tests over the `backend` fixture, where there is one.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine


def calls() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every function of `xp` that is called, and the keywords: ("sum", ("axis", "out"))."""
    for path in sorted(Path(engine.__path__[0]).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = _of_xp(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name and not name.startswith("cuda."):  # CuPy's own
                yield name, tuple(sorted(k.arg for k in node.keywords if k.arg))


def _of_xp(function: ast.expr) -> str:
    """Return "sum" for `xp.sum` and `self.backend.xp.sum`, "" for other functions."""
    words: list[str] = []
    while isinstance(function, ast.Attribute):
        words.append(function.attr)
        function = function.value
    words.append(function.id if isinstance(function, ast.Name) else "")
    words.reverse()
    at = next((i for i, word in enumerate(words) if word in ("xp", "_xp")), None)
    return ".".join(words[at + 1 :]) if at is not None else ""


CALLS = sorted(set(calls()))


def test_the_calls_are_found() -> None:
    assert {"multiply", "matmul", "maximum"} < {name for name, _ in CALLS}


@pytest.mark.filterwarnings("ignore::UserWarning")  # that no CUDA path was found
@pytest.mark.parametrize(("name", "keywords"), CALLS)
def test_cupy_has_it(name: str, keywords: tuple[str, ...]) -> None:
    module: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
    function = module
    for word in name.split("."):
        function = getattr(function, word)
    if isinstance(function, module.ufunc):
        allowed = {"out", "dtype", "casting", "axis"}
    else:
        allowed = set(inspect.signature(function).parameters)
    assert set(keywords) <= allowed, f"cupy.{name} takes {sorted(allowed)}"
