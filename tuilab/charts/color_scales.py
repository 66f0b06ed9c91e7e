"""Scales of colour for maps and pictures, in the colours of a theme.

A role "signed.-5" or "active.3" names a step of a scale; "A/B" is the colour of A on that of B, and
"#rrggbb" a colour of its own. `painted` turns such a role into a style.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color

from tuilab.charts.rounding import settled
from tuilab.charts.text import Span

SHADES: Final = " ░▒▓█"
STEPS: Final = 12  # of a scale, each way
FAINTEST: Final = 0.07  # how far a map's zero stands out from the ground


def ramps(variables: Mapping[str, str]) -> dict[str, Style]:
    """Build the styles of all steps from the variables of a theme.

    "signed" goes from blue over the ground to orange, which colour-blind people tell apart too;
    "active" and "saturated" begin at the ground.
    """
    ground, foreground = Color.parse(variables["background"]), Color.parse(variables["foreground"])
    zero = ground.blend(foreground, FAINTEST)
    error = Color.parse(variables.get("text-error", variables["foreground"]))

    def scale(name: str, variable: str, sign: int = 1) -> dict[str, Style]:
        hue = Color.parse(variables.get(variable, variables["foreground"]))
        return {
            f"{name}.{sign * step}": Style(color=zero.blend(hue, step / STEPS).rich_color)
            for step in range(STEPS + 1)
        }

    return {
        "ground": Style(color=ground.rich_color),
        "ink": Style(color=foreground.rich_color),
        "dead": Style(color=zero.blend(error, 0.25).rich_color),
        **scale("signed", "text-primary", -1),
        **scale("signed", "text-warning"),
        **scale("active", "text-primary"),
        **scale("saturated", "text-warning"),
    }


def painted(role: str, styles: Mapping[str, Style]) -> Style:
    """Return the style of a role that is not in the table: a colour, or one colour on another."""
    front, _, back = role.partition("/")
    return _style(_colour(front, styles), _colour(back, styles))


@lru_cache(4096)  # a picture in full colour has some thousands
def _style(front: RichColor | None, back: RichColor | None) -> Style:
    return Style(color=front, bgcolor=back)


def _colour(name: str, styles: Mapping[str, Style]) -> RichColor | None:
    if name.startswith("#"):
        return RichColor.parse(name)
    return styles[name].color if name in styles else None


def level(role: str) -> int:
    """Return which step of its scale a role names; 0 where it names none."""
    return int(role.rpartition(".")[2]) if "." in role else 0


def solid(role: str, cells: int) -> Span:
    """Return cells of one colour; where there are no colours, a shade shows in its stead."""
    shade = SHADES[-(-abs(level(role)) * (len(SHADES) - 1) // STEPS)]
    return shade * cells, f"{role}/{role}"


def step(share: float) -> int:
    """Return the step of a scale for a share in [−1, 1]."""
    return round(settled(min(max(share, -1.0), 1.0) * STEPS))


def on(back: str, share: float) -> str:
    """Return the role of writing that can be read on a step of a scale that is `share` bright."""
    return f"{'ground' if abs(share) > 0.6 else 'ink'}/{back}"
