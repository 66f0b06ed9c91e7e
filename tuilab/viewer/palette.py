"""Roles to colours: one hue for activations, one for gradients, one for updates.

Roles are named by what they mean; colours come from the variables of the current theme, so that
every Textual theme works. The `tuilab` theme is the one the screen is designed for.
"""

from collections.abc import Mapping
from typing import Final

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from tuilab.viewer.curves.base import DEPTHS
from tuilab.viewer.ramps import ramps

TUILAB: Final = Theme(
    name="tuilab",
    dark=True,
    background="#12151c",
    surface="#161a23",
    panel="#1f2531",
    foreground="#d9dfea",
    primary="#5ab0f6",  # activations
    secondary="#c58fff",  # gradients
    accent="#5fd3bc",  # updates
    warning="#f2b24b",
    error="#ff6b6b",
    success="#8fd460",
    variables={
        "text-primary": "#5ab0f6",
        "text-secondary": "#c58fff",
        "text-accent": "#5fd3bc",
        "text-warning": "#f2b24b",
        "text-error": "#ff6b6b",
        "text-success": "#8fd460",
    },
)

VARIABLES: Final = {  # the theme's variable of each hue
    "activation": "text-primary",
    "gradient": "text-secondary",
    "update": "text-accent",
    "train": "foreground",
    "validation": "text-success",
    "success": "text-success",
    "warning": "text-warning",
    "error": "text-error",
    "key": "text-primary",
}


def role_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """Build the style of every role from the variables of a theme."""
    foreground, background = Color.parse(variables["foreground"]), variables["background"]
    ground = Color.parse(background)
    styles = {
        "": Style(),
        "bold": Style(bold=True),
        "italic": Style(italic=True),
        "muted": Style(color=foreground.blend(ground, 0.42).rich_color),
        "muted.bold": Style(color=foreground.blend(ground, 0.42).rich_color, bold=True),
        "faint": Style(color=foreground.blend(ground, 0.72).rich_color),
    }
    for role, variable in VARIABLES.items():
        colour = Color.parse(variables.get(variable, variables["foreground"]))
        styles[role] = Style(color=colour.rich_color, bold=role in ("error", "key"))
        styles[f"{role}.bold"] = Style(color=colour.rich_color, bold=True)
        styles[f"{role}.dim"] = Style(color=colour.blend(ground, 0.45).rich_color)
        styles[f"{role}.tag"] = Style(color=ground.rich_color, bgcolor=colour.rich_color, bold=True)
    near, far = (
        Color.parse(variables.get(VARIABLES[role], variables["foreground"]))
        for role in ("activation", "warning")
    )
    for k in range(DEPTHS):
        styles[f"depth.{k}"] = Style(color=near.blend(far, k / (DEPTHS - 1)).rich_color)
    return styles | ramps(variables)
