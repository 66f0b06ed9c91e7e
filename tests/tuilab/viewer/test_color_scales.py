"""Scales of colour in the colours of a theme."""

import pytest
from rich.color import Color
from rich.style import Style
from textual.theme import BUILTIN_THEMES

from tuilab.charts.color_scales import STEPS, level, on, painted, solid, step
from tuilab.viewer.terminal.theme import THEMES, role_styles

BOTH = [THEMES[0], BUILTIN_THEMES["textual-light"]]
STYLES = [role_styles(theme.to_color_system().generate()) for theme in BOTH]


def brightness(style: Style) -> float:
    assert style.color is not None
    return sum(style.color.get_truecolor())


@pytest.mark.parametrize("styles", STYLES, ids=["dark", "light"])
@pytest.mark.parametrize("name", ["active", "saturated", "signed"])
def test_a_scale_leads_away_from_the_ground(styles: dict[str, Style], name: str) -> None:
    steps = [brightness(styles[f"{name}.{k}"]) for k in range(STEPS + 1)]
    ground = brightness(styles["ground"])
    away = [abs(each - ground) for each in steps]
    assert away == sorted(away)
    assert away[0] > 0  # a cell of nothing is still seen


@pytest.mark.parametrize("styles", STYLES, ids=["dark", "light"])
def test_signs_have_hues_of_their_own(styles: dict[str, Style]) -> None:
    blue, orange = styles[f"signed.-{STEPS}"].color, styles[f"signed.{STEPS}"].color
    assert blue is not None
    assert orange is not None
    (r, _, b), (red, _, rest) = blue.get_truecolor(), orange.get_truecolor()
    assert b > r
    assert red > rest


def test_a_role_of_two_is_a_colour_on_another() -> None:
    styles = STYLES[0]
    style = painted("signed.3/active.5", styles)
    assert (style.color, style.bgcolor) == (styles["signed.3"].color, styles["active.5"].color)
    assert painted("#010203/#040506", {}) == Style(
        color=Color.parse("#010203"), bgcolor=Color.parse("#040506")
    )


def test_without_colours_nothing_is_painted_but_shades_are_left() -> None:
    assert painted("signed.3/active.5", {}) == Style()
    assert solid("active.12", 3) == ("███", "active.12/active.12")
    assert solid("signed.-6", 2) == ("▒▒", "signed.-6/signed.-6")
    assert solid("active.0", 2)[0] == "  "


def test_writing_is_dark_on_what_is_bright() -> None:
    assert on("active.12", 1.0) == "ground/active.12"
    assert on("signed.-2", -0.2) == "ink/signed.-2"


def test_steps_end_at_the_ends() -> None:
    assert [step(share) for share in (-3.0, -1.0, 0.0, 0.5, 1.0, 9.0)] == [-12, -12, 0, 6, 12, 12]
    assert [level(role) for role in ("signed.-5", "ground", "#ffffff")] == [-5, 0, 0]
