"""What a step consists of: launches in order, with everything that they need.

A plan is plain data, so it can be printed, compared, and executed by something other than a GPU.
Nothing in it reads a value back; what a step needs from the host is in device memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from engine.backends.base import Array
from engine.errors import NotPlannedError

Argument: TypeAlias = Array | np.int32 | np.float64


@dataclass(frozen=True, slots=True)
class Launch:
    """One of the kernels in `kernels/`, over a grid of blocks."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: tuple[Argument, ...]

    def __str__(self) -> str:
        shapes = " ".join(_shape(a) for a in self.arguments if not isinstance(a, np.generic))
        return f"{self.kernel:<24} {_times(self.grid)} blocks of {_times(self.block)}: {shapes}"


@dataclass(frozen=True, slots=True)
class Product:
    """out = a b of C-contiguous matrices, each of which may be transposed first.

    Or of stacks of such matrices (count, rows, columns), with any distance between the matrices; a
    single matrix is multiplied by every matrix of the other stack.
    """

    a: Array
    b: Array
    out: Array
    transpose_a: bool = False
    transpose_b: bool = False
    concurrent: bool = False
    """Whether it may run at the same time as the items after it up to `Join`, because none of them
    reads what it writes or writes what it reads."""

    @property
    def count(self) -> int:
        """The number of matrix products."""
        return len(self.out) if self.out.ndim == 3 else 1

    def __str__(self) -> str:
        a, b = (
            f"{_shape(self.a)}{'ᵀ' * self.transpose_a}",
            f"{_shape(self.b)}{'ᵀ' * self.transpose_b}",
        )
        return f"{'product':<24} {a} · {b} → {_shape(self.out)}{', concurrent' * self.concurrent}"


@dataclass(frozen=True, slots=True)
class EagerCall:
    """An operation without a kernel: the engine's own code, run with the array module."""

    name: str
    run: Callable[[], object]

    def __str__(self) -> str:
        return f"{'eager call':<24} {self.name}"


@dataclass(frozen=True, slots=True)
class Join:
    """A point that waits for all concurrent products before it."""

    def __str__(self) -> str:
        return "join"


Item: TypeAlias = Launch | Product | EagerCall | Join
LaunchPlan: TypeAlias = Sequence[Item]


def describe(plan: Iterable[Item]) -> str:
    """Return the plan as text, one item per line."""
    return "\n".join(f"{number:>3}  {item}" for number, item in enumerate(plan, start=1))


def product(a: Array, b: Array, out: Array) -> Product:
    """Return `matmul(a, b, out=out)` of matrices, stacks of matrices or vectors as a Product.

    Raises NotPlannedError unless every matrix or its transpose is C-contiguous.
    """
    stacks = [len(operand) for operand in (a, b) if operand.ndim == 3]
    fits = out.ndim < 3 if not stacks else out.ndim == 3 and set(stacks) == {len(out)}
    if not fits or max(a.ndim, b.ndim) > 3 or not out.flags.c_contiguous:
        raise NotPlannedError(f"products of shapes {a.shape} and {b.shape} are not supported")
    if out.ndim == 3:
        (left, turned_left), (right, turned_right) = _as_stored(a), _as_stored(b)
        return Product(left, right, out, turned_left, turned_right)
    rows, columns = (1 if a.ndim == 1 else len(a)), (1 if b.ndim == 1 else b.shape[1])
    left, turned_left = _as_stored(a.reshape(1, -1) if a.ndim == 1 else a)
    right, turned_right = _as_stored(b.reshape(-1, 1) if b.ndim == 1 else b)
    return Product(left, right, out.reshape(rows, columns), turned_left, turned_right)


def products(a: Array, b: Array, out: Array) -> list[Product]:
    """Return `matmul(a, b, out=out)` as Products: several only for stacks of stacks."""
    if out.ndim <= 3:
        return [product(a, b, out)]
    return [
        part
        for k in range(len(out))
        for part in products(a[k], b[k] if b.ndim == out.ndim else b, out[k])
    ]


def _as_stored(matrix: Array) -> tuple[Array, bool]:
    for turned, stored in ((False, matrix), (True, matrix.swapaxes(-1, -2))):
        if (stored[0] if stored.ndim == 3 else stored).flags.c_contiguous:
            return stored, turned
    raise NotPlannedError(
        f"a matrix {matrix.shape} with gaps between its rows cannot be multiplied"
    )


def _shape(array: Array) -> str:
    return f"({_times(array.shape)})"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
