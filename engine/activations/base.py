"""What a non-linearity is, and the family's registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from engine.backends.base import Array, Backend
from engine.registry import Registry

Scratch: TypeAlias = Sequence[Array]

activations: Registry["Activation"] = Registry("activation", "engine.activations")


@dataclass(frozen=True)
class Activation:
    """An elementwise non-linearity; all arrays have the shape (batch, *units)."""

    kernels: ClassVar[tuple[str, str]] = "", ""
    """Compiled kernels that do what `forward` and `backward` say; "" where there is none."""
    scratch: ClassVar[int] = 0
    """Arrays of the shape of x to work in. What `forward` leaves there its `backward` finds."""

    @property
    def saturated(self) -> tuple[float, float] | None:
        """An output at or beyond these values passes next to no gradient on; None: never so."""
        return None

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest output, None where there is none: the range of its histogram."""
        return None, None

    @property
    def silent_at(self) -> float | None:
        """A unit that never rises above this output learns nothing: it is dead. None: cannot."""
        return None

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        """Write f(x) into y."""
        raise NotImplementedError

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        """Write dy · f′(x) into dx; reads x, y and dy only."""
        raise NotImplementedError
