"""The themes: text that can be read, distinguishable hues, and roles without colours."""

import itertools

import numpy as np
import pytest
from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from engine.statistics.frames import Floats
from tuilab.viewer.terminal.theme import THEMES, plain_styles, role_styles, theme_names

HUES = ("train", "activation", "gradient", "update", "validation", "warning", "error")
READ = ("muted", *HUES, *(f"{hue}.bold" for hue in HUES))
# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
SEEN = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "all cones": np.eye(3).tolist(),
}


def styles(theme: Theme) -> dict[str, Style]:
    return role_styles(theme.to_color_system().generate() | theme.variables)


def linear(colour: Color) -> Floats:
    """Return linear RGB (IEC 61966-2-1)."""
    c = np.array(colour.rgb) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of WCAG 2."""
    light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other))
    return light[1] / light[0]


def lab(rgb: Floats) -> Floats:
    """Return CIE L*a*b* under D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ rgb / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ink(theme: Theme, role: str) -> Color:
    colour = styles(theme)[role].color
    assert colour is not None
    return Color.from_rich_color(colour)


def closest(theme: Theme, cones: str) -> float:
    """Return the CIE 1976 distance of the two hues that look most alike."""
    seen = np.array(SEEN[cones])
    points = [lab(np.clip(seen @ linear(ink(theme, hue)), 0, 1)) for hue in HUES]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(points, 2))


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_text_can_be_read_on_every_ground(theme: Theme) -> None:
    for ground in (theme.background, theme.surface):
        assert ground is not None
        for role in READ:
            assert contrast(ink(theme, role), Color.parse(ground)) >= 4.5, (role, ground)
    assert contrast(Color.parse("#777777"), Color.parse("#ffffff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_hues_can_be_told_apart(theme: Theme) -> None:
    assert closest(theme, "all cones") >= 25


@pytest.mark.parametrize("cones", ["protanopia", "deuteranopia"])
def test_the_colour_blind_theme_holds_for_those_who_lack_cones(cones: str) -> None:
    dark, _, colour_blind = THEMES
    assert colour_blind.name == "colour-blind"
    assert closest(colour_blind, cones) >= 18
    assert closest(dark, cones) < 7  # which is why there is another one


def test_names_are_known_without_an_app() -> None:
    assert theme_names()[:3] == ["dark", "light", "colour-blind"]
    assert "nord" in theme_names()


def test_without_colours_severity_shows_in_other_ways() -> None:
    plain = plain_styles(styles(THEMES[0]))
    assert all(style.color is None and style.bgcolor is None for style in plain.values())
    assert plain["error"].reverse
    assert plain["warning"].bold
    assert not plain["validation"].bold
    assert plain["muted"].dim
    assert plain["activation.dim"].dim
    assert plain["activation.tag"].reverse
