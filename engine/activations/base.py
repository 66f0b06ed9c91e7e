"""What an activation is, and the registry of all."""

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
    """Names of compiled kernels in place of `forward` and `backward`; "" for none."""
    scratch: ClassVar[int] = 0
    """Number of scratch arrays like x. `backward` gets them as `forward` left them."""

    @property
    def saturated(self) -> tuple[float, float] | None:
        """Outputs at or beyond these values pass almost no gradient; None if it cannot saturate."""
        return None

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lowest and highest output, None if unbounded: the range of its histogram."""
        return None, None

    @property
    def silent_at(self) -> float | None:
        """A unit whose output never exceeds this is dead: it learns nothing. None: never so."""
        return None

    def forward(self, backend: Backend, x: Array, y: Array, scratch: Scratch = ()) -> None:
        """Write f(x) into y."""
        raise NotImplementedError

    def backward(
        self, backend: Backend, x: Array, y: Array, dy: Array, dx: Array, scratch: Scratch = ()
    ) -> None:
        """Write dy · f′(x) into dx; x, y and dy are left alone."""
        raise NotImplementedError
