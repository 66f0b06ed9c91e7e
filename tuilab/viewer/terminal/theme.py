"""Styles of roles: one hue for activations, one for gradients, one for updates.

A role is named after its meaning. Colours come from the variables of the current theme, so that
every Textual theme works; the screen is designed for the themes below.
"""

from collections.abc import Mapping
from typing import Final

from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from tuilab.charts.color_scales import STEPS
from tuilab.viewer.curves.base import DEPTHS

MUTED: Final = 0.34  # of the way from the text to the ground: contrast stays above 4.5
FAINT: Final = 0.72  # rules and what is zero
FAINTEST: Final = 0.07  # of the way from the ground to the text: zero on a map


def _theme(
    name: str,
    *,
    grounds: tuple[str, str, str],
    foreground: str,
    activation: str,
    gradient: str,
    update: str,
    warning: str,
    error: str,
    success: str,
) -> Theme:
    """Return a theme of hues; `grounds` are the backgrounds of the screen, of bars, of fields."""
    background, surface, panel = grounds
    theme = Theme(
        name=name,
        dark=Color.parse(background).brightness < 0.5,
        background=background,
        surface=surface,
        panel=panel,
        foreground=foreground,
        primary=activation,
        secondary=gradient,
        accent=update,
        warning=warning,
        error=error,
        success=success,
    )
    for hue in ("primary", "secondary", "accent", "warning", "error", "success"):
        theme.variables[f"text-{hue}"] = getattr(theme, hue)  # unchanged, not blended with white
    return theme


THEMES: Final = (
    _theme(
        "dark",
        grounds=("#12151c", "#161a23", "#1f2531"),
        foreground="#d9dfea",
        activation="#5ab0f6",
        gradient="#c58fff",
        update="#5fd3bc",
        warning="#f2b24b",
        error="#ff6b6b",
        success="#8fd460",
    ),
    _theme(
        "light",
        grounds=("#fbfbfa", "#f1f2f4", "#e4e7ec"),
        foreground="#171d28",
        activation="#0b62b0",
        gradient="#8033c0",
        update="#00695c",
        warning="#8a5200",
        error="#b8202a",
        success="#2f6d12",
    ),
    # The hues of Okabe and Ito, "Color Universal Design" (2008), spread in lightness until any two
    # of them can be distinguished with any kind of colour blindness.
    _theme(
        "colour-blind",
        grounds=("#12151c", "#161a23", "#1f2531"),
        foreground="#eef1f6",
        activation="#3f9bea",
        gradient="#cc6fa3",
        update="#14c694",
        warning="#f0e442",
        error="#ec6a08",
        success="#86d2f6",
    ),
)
"""In the order of the key; a new user gets the first."""

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


def theme_names() -> list[str]:
    """Return the names of all themes, tuilab's first."""
    return [theme.name for theme in THEMES] + sorted(BUILTIN_THEMES)


PLAIN: Final = {  # without colours: warnings are bold, errors reversed
    "warning": Style(bold=True),
    "error": Style(reverse=True),
    "key": Style(bold=True),
    "muted": Style(dim=True),
    "faint": Style(dim=True),
}


def role_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """Return the style of every role, from the variables of a theme."""
    foreground, ground = Color.parse(variables["foreground"]), Color.parse(variables["background"])
    muted, faint = (foreground.blend(ground, share).rich_color for share in (MUTED, FAINT))
    styles = {
        "": Style(),
        "bold": Style(bold=True),
        "italic": Style(italic=True),
        "muted": Style(color=muted),
        "muted.bold": Style(color=muted, bold=True),
        "faint": Style(color=faint),
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
    return styles | scale_styles(variables)


def scale_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """Return the styles of all steps of the colour scales, from the variables of a theme.

    "signed" runs from blue through the background to orange, a pair that colour-blind people can
    distinguish too; "active" and "saturated" begin at the background.
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


def plain_styles(styles: Mapping[str, Style]) -> dict[str, Style]:
    """Return the style of every role without colours."""
    return {role: _plain(role, style) for role, style in styles.items()}


def _plain(role: str, style: Style) -> Style:
    kind, _, shade = role.partition(".")
    plain = Style(bold=style.bold or None, italic=style.italic or None) + PLAIN.get(kind, Style())
    if style.bgcolor is not None:
        return plain + Style(reverse=True)
    return plain + Style(dim=True) if shade == "dim" else plain
