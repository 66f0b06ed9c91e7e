"""The kernels as Python functions over arrays."""

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SWITCH: Final = "TUILAB_KERNELS"
"""Environment variable: "off" leaves the kernels alone, where they are suspected of something."""
HEAD: Final = re.compile(r"^KERNEL (void|double|int64_t) (\w+)\(([^)]*)\)", re.MULTILINE)
NUMBERS: Final[Mapping[str, Any]] = {
    "length": ctypes.c_int64,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "void": None,
}
ELEMENTS: Final = {"int64_t": np.int64, "double": np.float64, "uint8_t": np.bool_}


class Kernels:
    """The kernels of one dtype."""

    def __init__(self, dtype: str) -> None:
        """Compile and load them; raises NotCompiledError."""
        from engine.native.compiler import library, source  # which only who computes shall load

        text = source(dtype)
        loaded, name = library(text)
        self.name = name[:8]
        """Tells them from others: of another version, another compiler or processor."""
        self._arguments: dict[str, list[str]] = {}
        self._functions: dict[str, Any] = {}
        self._elements = {**ELEMENTS, "REAL": np.dtype(dtype).type}
        for returns, name, inside in HEAD.findall(text):
            arguments = [_type(each) for each in inside.split(",")]
            function = getattr(loaded, name)
            function.restype = NUMBERS[returns]
            function.argtypes = [NUMBERS.get(each, ctypes.c_void_p) for each in arguments]
            self._arguments[name], self._functions[name] = arguments, function

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def bind(self, name: str, *fixed: Any) -> Callable[..., Any]:
        """Return kernel `name` with its first arguments given: it takes the others.

        Arrays must be of the kernel's type and contiguous; one that is only read may lie otherwise,
        if it is given later, and is copied then. Those given here are kept.
        """
        function, types = self._functions[name], self._arguments[name]
        places = [self._place(type_) for type_ in types]
        given = [place(value) for place, value in zip(places, fixed, strict=False)]
        later = places[len(fixed) :]

        def call(*rest: Any, kept: Any = fixed) -> Any:
            return function(
                *given, *[place(value) for place, value in zip(later, rest, strict=True)]
            )

        return call

    def _place(self, type_: str) -> Callable[[Any], Any]:
        """Return what makes of an argument what C takes: where an array lies, or the number."""
        if not type_.endswith("*"):
            return _number
        read = type_.startswith("const ")
        return _Place(self._elements[type_.removeprefix("const ").removesuffix("*")], read)


def address(array: Array) -> int:
    """Return where the elements of a contiguous array begin."""
    return array.ctypes.data


class _Place:
    """Where an array lies, remembered as long as it is the same one."""

    def __init__(self, dtype: type[Any], read: bool) -> None:
        """`read`: a kernel only reads it."""
        self._dtype, self._read = dtype, read
        self._array: Array | None = None
        self._at = 0

    def __call__(self, array: Array) -> int:
        if array is self._array:
            return self._at
        if array.dtype != self._dtype:
            raise TypeError(f"a kernel takes {self._dtype.__name__}, not {array.dtype}")
        if array.flags.c_contiguous:
            self._array, self._at = array, array.ctypes.data
            return self._at
        if not self._read:
            raise TypeError("a kernel writes into a contiguous array")
        self._array = None  # a copy is what the array is only now
        self._copy = np.ascontiguousarray(array)
        return int(self._copy.ctypes.data)


def _number(value: Any) -> Any:
    return value


def _type(argument: str) -> str:
    """`const REAL *restrict x` → `const REAL*`."""
    words = argument.replace("restrict", "").replace("*", " * ").split()
    return " ".join(words[:-1]).replace(" *", "*")


@cache
def _loaded(dtype: str) -> Kernels | str:
    """Return the kernels, or why there are none."""
    from engine.native.compiler import NotCompiledError

    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return f"{SWITCH} is off"
    try:
        return Kernels(dtype)
    except NotCompiledError as error:
        return str(error)


def kernels(dtype: str) -> Kernels | None:
    """Return the kernels of float32 or float64; None where there are none, see `missing`."""
    found = _loaded(dtype)
    return found if isinstance(found, Kernels) else None


def missing(dtype: str) -> str:
    """Say why there are no kernels; "" where there are."""
    found = _loaded(dtype)
    return found if isinstance(found, str) else ""
