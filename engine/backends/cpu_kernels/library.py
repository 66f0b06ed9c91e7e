"""The kernels as Python functions over arrays."""

import ctypes
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.statistics.frames import BINS, FIELDS, WIDTH_IN_RMS

Array = npt.NDArray[Any]

SWITCH: Final = "TUILAB_KERNELS"
"""Environment variable: "off" leaves the kernels alone, where they are suspected of something."""
HEAD: Final = re.compile(r"^KERNEL (void|double|int64_t) (\w+)\(([^)]*)\)", re.MULTILINE)
C_TYPES: Final[Mapping[str, Any]] = {
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
        # Only who computes shall load what compiles.
        from engine.backends.cpu_kernels.compiler import NotCompiledError, library, source

        text = source(dtype, BINS=BINS, FIELDS=len(FIELDS), WIDTH_IN_RMS=WIDTH_IN_RMS)
        loaded, made_of = library(text)
        self.name = made_of[:8]
        """Tells them from others: of another version, another compiler or processor."""
        self._arguments: dict[str, list[str]] = {}
        self._functions: dict[str, Any] = {}
        self._elements = {**ELEMENTS, "REAL": np.dtype(dtype).type}
        for returns, name, inside in HEAD.findall(text):
            arguments = [_type(each) for each in inside.split(",")]
            try:
                function = getattr(loaded, name)
            except AttributeError as error:
                raise NotCompiledError(f"the library that was kept is broken: {error}") from error
            function.restype = C_TYPES[returns]
            function.argtypes = [C_TYPES.get(each, ctypes.c_void_p) for each in arguments]
            self._arguments[name], self._functions[name] = arguments, function

    def bind(self, name: str, *fixed: Any, sizes: Sequence[int] = ()) -> Callable[..., Any]:
        """Return kernel `name` with its first arguments given: it takes the others.

        Arrays must be of the kernel's type and contiguous. Those given here are kept. One that is
        only read may be otherwise if it is given later, and is copied then. `sizes` are the numbers
        of elements of those given later, as far as they are known. The call belongs to one thread
        at a time; it raises TypeError, ValueError.
        """
        function, types = self._functions[name], self._arguments[name]
        given = [self._fixed(type_, value) for type_, value in zip(types, fixed, strict=False)]
        known = iter(sizes)
        later = [
            _Place(self._elements_of(type_), type_.startswith("const "), next(known, None))
            if type_.endswith("*")
            else _number
            for type_ in types[len(fixed) :]
        ]
        return _Call(function, given, later, fixed)

    def _fixed(self, type_: str, value: Any) -> Any:
        """Return what C takes: where an array lies, or the number itself."""
        if not type_.endswith("*"):
            return value
        wanted = self._elements_of(type_)
        if value.dtype != wanted or not value.flags.c_contiguous:
            raise TypeError(f"a kernel keeps contiguous {wanted.__name__}, not {value.dtype}")
        return address(value)

    def _elements_of(self, type_: str) -> type[Any]:
        return self._elements[type_.removeprefix("const ").removesuffix("*")]


def address(array: Array) -> int:
    """Return where the elements of a contiguous array begin."""
    return array.ctypes.data


class _Call:
    """A kernel whose first arguments are given; it keeps the arrays among them."""

    __slots__ = "_function", "_given", "_kept", "_later"

    def __init__(
        self,
        function: Any,
        given: Sequence[Any],
        later: Sequence[Callable[[Any], Any]],
        kept: Sequence[Any],
    ) -> None:
        self._function, self._given, self._later, self._kept = function, given, later, kept

    def __call__(self, *rest: Any) -> Any:
        values = [place(value) for place, value in zip(self._later, rest, strict=True)]
        return self._function(*self._given, *values)


class _Place:
    """Where an array lies, remembered as long as it is the same one."""

    def __init__(self, dtype: type[Any], read: bool, size: int | None) -> None:
        """`read`: a kernel only reads it. `size` None: any."""
        self._dtype, self._read, self._size = dtype, read, size
        self._array: Array | None = None
        self._at = 0

    def __call__(self, array: Array) -> int:
        if array is self._array:
            return self._at
        if self._size not in (None, array.size):
            raise ValueError(f"a kernel takes {self._size} elements here, not {array.size}")
        if array.dtype == self._dtype and array.flags.c_contiguous:
            self._array, self._at = array, address(array)
            return self._at
        if not self._read or not np.can_cast(array.dtype, self._dtype, "same_kind"):
            wanted = "takes" if self._read else "writes into contiguous"
            raise TypeError(f"a kernel {wanted} {self._dtype.__name__}, not {array.dtype}")
        self._array = None  # a copy is what the array is only now
        self._copy = np.ascontiguousarray(array, self._dtype)
        return address(self._copy)


def _number(value: Any) -> Any:
    return value


def _type(argument: str) -> str:
    """`const REAL *restrict x` → `const REAL*`."""
    words = argument.replace("restrict", "").replace("*", " * ").split()
    return " ".join(words[:-1]).replace(" *", "*")


@cache
def _loaded(dtype: str) -> Kernels | str:
    """Return the kernels, or why there are none."""
    from engine.backends.cpu_kernels.compiler import NotCompiledError

    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return f"{SWITCH} is off"
    try:
        return Kernels(dtype)
    except (NotCompiledError, OSError, RuntimeError) as error:  # a home, a disk, a compiler
        return str(error) or type(error).__name__


def kernels(dtype: str) -> Kernels | None:
    """Return the kernels of float32 or float64; None where there are none, see `missing`."""
    found = _loaded(dtype)
    return found if isinstance(found, Kernels) else None


def missing(dtype: str) -> str:
    """Say why there are no kernels; "" where there are."""
    found = _loaded(dtype)
    return found if isinstance(found, str) else ""
