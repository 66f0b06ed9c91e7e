"""The passes of batch normalisation over all rows, as formulas and as compiled kernels.

x, y, dy and dx are (rows, features); everything else is (features,).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.backends.base import Array, Backend


class FormulaPasses:
    """In terms of the array module; x − mean is computed once, by `centre`, and read by the rest.

    It is never scaled to x̂: whatever scales it is a vector of features.
    """

    def __init__(self, backend: Backend, y: Array, dx: Array) -> None:
        self._xp, self._y, self._dx = backend.xp, y, dx
        self._ones, self._centred = backend.full((len(y),), 1.0), backend.empty(y.shape)

    def sum(self, total: Array, x: Array) -> None:
        """total = Σ x."""
        self._xp.matmul(self._ones, x, out=total)

    def centre(self, x: Array, mean: Array) -> None:
        """Compute x − mean."""
        self._xp.subtract(x, mean, out=self._centred)

    def sum_squares(self, total: Array, mean: Array) -> None:
        """total = Σ (x − mean)²; overwrites y."""
        self._xp.multiply(self._centred, self._centred, out=self._y)
        self._xp.matmul(self._ones, self._y, out=total)

    def apply(self, x: Array, mean: Array, factor: Array, beta: Array) -> None:
        """y = (x − mean) · factor + β."""
        self._xp.multiply(self._centred, factor, out=self._y)
        self._xp.add(self._y, beta, out=self._y)

    def slopes(self, slopes: Array, sums: Array, x: Array, mean: Array, dy: Array) -> None:
        """slopes = Σ dy · (x − mean), sums = Σ dy; overwrites dx."""
        self._xp.multiply(dy, self._centred, out=self._dx)
        self._xp.matmul(self._ones, self._dx, out=slopes)
        self._xp.matmul(self._ones, dy, out=sums)

    def differentiate(
        self, x: Array, mean: Array, dy: Array, slope: Array, shift: Array, factor: Array
    ) -> None:
        """dx = (dy − (x − mean) · slope − shift) · factor."""
        self._xp.multiply(self._centred, slope, out=self._dx)
        self._xp.add(self._dx, shift, out=self._dx)
        self._xp.subtract(dy, self._dx, out=self._dx)
        self._xp.multiply(self._dx, factor, out=self._dx)


@dataclass(frozen=True, slots=True)
class KernelPasses:
    """The same signatures; each kernel computes x − mean on the way."""

    sum: Callable[[Array, Array], None]
    sum_squares: Callable[[Array, Array], None]
    apply: Callable[[Array, Array, Array, Array], None]
    slopes: Callable[[Array, Array, Array, Array, Array], None]
    differentiate: Callable[[Array, Array, Array, Array, Array, Array], None]

    @classmethod
    def of(cls, backend: Backend, y: Array, dx: Array) -> "KernelPasses | None":
        """Bind the kernels to y and dx; None where `backend` has none."""
        middle, squares = (backend.empty(y.shape[1:]) for _ in range(2))
        n, m, row = y.size, dx.size, middle.size

        def kernel(name: str, *fixed: Any, sizes: Sequence[int]) -> Any:
            return backend.kernel(f"batch_norm_{name}", *fixed, sizes=sizes)

        sums = kernel("sums", middle, squares, *y.shape, sizes=[row, n])
        if sums is None:
            return None
        return cls(
            sums,
            kernel("squares", middle, squares, *y.shape, sizes=[row, row]),
            kernel("apply", y, *y.shape, sizes=[n, row, row, row]),
            kernel("slopes", *dx.shape, sizes=[row, row, m, row, m]),
            kernel("differentiate", dx, *dx.shape, sizes=[m, row, m, row, row, row]),
        )

    def centre(self, x: Array, mean: Array) -> None:
        """Nothing to do."""
