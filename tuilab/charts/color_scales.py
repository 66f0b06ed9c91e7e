"""Roles that name steps of colour scales, for maps and pictures.

"signed.-5" and "active.3" are steps of a scale, "A/B" is the colour of A on that of B, and
"#rrggbb" is a literal colour. `painted` turns such a role into a style of the current theme.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rich.color import Color as RichColor
from rich.style import Style

from tuilab.charts.rounding import settled
from tuilab.charts.text import Span

SHADES: Final = " ░▒▓█"
STEPS: Final = 12  # of a scale, each way


def painted(role: str, styles: Mapping[str, Style]) -> Style:
    """Return the style of a role that `styles` lacks: a colour, or one colour on another."""
    front, _, back = role.partition("/")
    return _style(_colour(front, styles), _colour(back, styles))


@lru_cache(4096)  # a full-colour picture has some thousands
def _style(front: RichColor | None, back: RichColor | None) -> Style:
    return Style(color=front, bgcolor=back)


def _colour(name: str, styles: Mapping[str, Style]) -> RichColor | None:
    if name.startswith("#"):
        return RichColor.parse(name)
    return styles[name].color if name in styles else None


def level(role: str) -> int:
    """Return the step of its scale that a role names, 0 if it names none."""
    return int(role.rpartition(".")[2]) if "." in role else 0


def solid(role: str, cells: int) -> Span:
    """Return cells of one colour; without colours, shaded blocks show it instead."""
    shade = SHADES[-(-abs(level(role)) * (len(SHADES) - 1) // STEPS)]
    return shade * cells, f"{role}/{role}"


def step(share: float) -> int:
    """Return the step of a scale for a share in [−1, 1]."""
    return round(settled(min(max(share, -1.0), 1.0) * STEPS))


def on(back: str, share: float) -> str:
    """Return the role of text that is legible on a step of a scale of brightness `share`."""
    return f"{'ground' if abs(share) > 0.6 else 'ink'}/{back}"
