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
"""Environment variable: "off" disables the kernels, to see whether they cause a problem."""
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
        """Compile and load them. Raises NotCompiledError."""
        # Imported only by processes that compute.
        from engine.backends.cpu_kernels.compiler import NotCompiledError, library, source

        text = source(dtype, BINS=BINS, FIELDS=len(FIELDS), WIDTH_IN_RMS=WIDTH_IN_RMS)
        loaded, name = library(text)
        self.name = name[:8]
        """Identifies the kernels: it differs for another version, compiler or processor."""
        self._arguments: dict[str, list[str]] = {}
        self._functions: dict[str, Any] = {}
        self._elements = {**ELEMENTS, "REAL": np.dtype(dtype).type}
        for returns, name, declared in HEAD.findall(text):
            arguments = [_type(argument) for argument in declared.split(",")]
            try:
                function = getattr(loaded, name)
            except AttributeError as error:
                raise NotCompiledError(f"the cached library is damaged: {error}") from error
            function.restype = C_TYPES[returns]
            function.argtypes = [C_TYPES.get(type_, ctypes.c_void_p) for type_ in arguments]
            self._arguments[name], self._functions[name] = arguments, function

    def bind(self, name: str, *fixed: Any, sizes: Sequence[int] = ()) -> Callable[..., Any]:
        """Return kernel `name` with its `fixed` first arguments bound; it takes the others.

        Arrays must have the kernel's type and be contiguous. The fixed ones are kept alive. If an
        array that is passed later is only read, it may have another type or layout, and is copied.
        `sizes` are the numbers of elements of the later arrays, as far as they are known. Only one
        thread at a time may call the result, which raises TypeError or ValueError.
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
        """Return the argument for C: the address of an array, or the number itself."""
        if not type_.endswith("*"):
            return value
        dtype = self._elements_of(type_)
        if value.dtype != dtype or not value.flags.c_contiguous:
            raise TypeError(f"a kernel needs contiguous {dtype.__name__}, not {value.dtype}")
        return address(value)

    def _elements_of(self, type_: str) -> type[Any]:
        return self._elements[type_.removeprefix("const ").removesuffix("*")]


def address(array: Array) -> int:
    """Return the address of the first element of a contiguous array."""
    return array.ctypes.data


class _Call:
    """A kernel whose first arguments are bound; it keeps the arrays among them alive."""

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
    """The address of an array argument, remembered as long as the array is the same."""

    def __init__(self, dtype: type[Any], read: bool, size: int | None) -> None:
        """`read`: the kernel only reads the array. `size` None: any number of elements."""
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
            verb = "takes" if self._read else "writes into contiguous"
            raise TypeError(f"a kernel {verb} {self._dtype.__name__}, not {array.dtype}")
        self._array = None  # the copy is valid only for this call
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
    """Return the kernels, or the reason why there are none."""
    from engine.backends.cpu_kernels.compiler import NotCompiledError

    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return f"{SWITCH} is off"
    try:
        return Kernels(dtype)
    except (
        NotCompiledError,
        OSError,
        RuntimeError,
    ) as error:  # of the home folder, the disk, the compiler
        return str(error) or type(error).__name__


def kernels(dtype: str) -> Kernels | None:
    """Return the kernels of float32 or float64; None if there are none (see `missing`)."""
    result = _loaded(dtype)
    return result if isinstance(result, Kernels) else None


def missing(dtype: str) -> str:
    """Return why there are no kernels; "" if there are."""
    result = _loaded(dtype)
    return result if isinstance(result, str) else ""
