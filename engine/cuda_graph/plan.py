"""What a step is made of: launches, in order, each with everything it needs.

A plan is plain data, so that it can be printed, compared and carried out by something else than a
GPU. Nothing in it reads a value back: what a step needs from the host lies in device memory.
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
    """One of our kernels, over a grid of blocks."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: tuple[Argument, ...]

    def __str__(self) -> str:
        shapes = " ".join(_shape(a) for a in self.arguments if not isinstance(a, np.generic))
        return f"{self.kernel:<24} {_times(self.grid)} blocks of {_times(self.block)}: {shapes}"


@dataclass(frozen=True, slots=True)
class Product:
    """out = a b of C-contiguous matrices, either of them transposed first if so wished.

    Or of stacks of such matrices, (count, rows, columns), as far apart as they like; a matrix
    beside a stack is multiplied with each of it.
    """

    a: Array
    b: Array
    out: Array
    transpose_a: bool = False
    transpose_b: bool = False
    beside: bool = False
    """Whether it may run at the same time as what follows, up to `Join`: nothing there needs it."""

    @property
    def count(self) -> int:
        """How many products of matrices it is."""
        return len(self.out) if self.out.ndim == 3 else 1

    def __str__(self) -> str:
        a, b = (
            f"{_shape(self.a)}{'ᵀ' * self.transpose_a}",
            f"{_shape(self.b)}{'ᵀ' * self.transpose_b}",
        )
        return f"{'product':<24} {a} · {b} → {_shape(self.out)}{', beside' * self.beside}"


@dataclass(frozen=True, slots=True)
class EagerCall:
    """What has no kernel of its own: run as the engine writes it, with the array module."""

    name: str
    run: Callable[[], object]

    def __str__(self) -> str:
        return f"{'as written':<24} {self.name}"


@dataclass(frozen=True, slots=True)
class Join:
    """Where all products that ran beside other items are done."""

    def __str__(self) -> str:
        return "join"


Item: TypeAlias = Launch | Product | EagerCall | Join
LaunchPlan: TypeAlias = Sequence[Item]


def describe(plan: Iterable[Item]) -> str:
    """Return the plan as text, an item a line."""
    return "\n".join(f"{number:>3}  {item}" for number, item in enumerate(plan, start=1))


def product(a: Array, b: Array, out: Array) -> Product:
    """Return what `matmul(a, b, out=out)` is: of matrices, stacks of them, vectors, and transposed.

    Raises NotPlannedError where a matrix is neither C-contiguous nor the transpose of one that is.
    """
    stacks = [len(each) for each in (a, b) if each.ndim == 3]
    fits = out.ndim < 3 if not stacks else out.ndim == 3 and set(stacks) == {len(out)}
    if not fits or max(a.ndim, b.ndim) > 3 or not out.flags.c_contiguous:
        raise NotPlannedError(f"no product of shapes {a.shape} and {b.shape} is planned")
    if out.ndim == 3:
        (left, turned_left), (right, turned_right) = _as_stored(a), _as_stored(b)
        return Product(left, right, out, turned_left, turned_right)
    rows, columns = (1 if a.ndim == 1 else len(a)), (1 if b.ndim == 1 else b.shape[1])
    left, turned_left = _as_stored(a.reshape(1, -1) if a.ndim == 1 else a)
    right, turned_right = _as_stored(b.reshape(-1, 1) if b.ndim == 1 else b)
    return Product(left, right, out.reshape(rows, columns), turned_left, turned_right)


def products(a: Array, b: Array, out: Array) -> list[Product]:
    """Return what `matmul(a, b, out=out)` is; of stacks of stacks, a product for each."""
    if out.ndim <= 3:
        return [product(a, b, out)]
    every = range(len(out))
    return [
        part for k in every for part in products(a[k], b[k] if b.ndim == out.ndim else b, out[k])
    ]


def _as_stored(matrix: Array) -> tuple[Array, bool]:
    for turned, stored in ((False, matrix), (True, matrix.swapaxes(-1, -2))):
        if (stored[0] if stored.ndim == 3 else stored).flags.c_contiguous:
            return stored, turned
    raise NotPlannedError(f"a matrix {matrix.shape} with gaps between its rows has no product")


def _shape(array: Array) -> str:
    return f"({_times(array.shape)})"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
