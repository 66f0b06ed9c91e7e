"""Twins of characters: as wide as what they replace, and plain where that is asked for."""

import io
import locale
import random

import pytest
from rich.cells import cell_len

from tuilab.viewer.terminal.glyphs import GLYPHS, detect, translate


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("⠒⠒⠒⠢⠤⠤⣀⣀⡠⠔⠊⠉", "------___-''"),
        ("⢸⡇⠐⠠⢀⣿⣷", "||--.##"),
        ("╭─ Loss ─╮│╰──╯", "+- Loss -+|+--+"),
        (" ▁▂▃▄▅▆▇█", " .:-=+*#@"),
        ("10⁻³·⁵ and 10²", "1e-3.5 and 1e2"),
        ("√½ = 0.71", ".7 = 0.71"),
        ("  ∞|  −∞| ∞|∞", "inf|-inf|oo|I"),
        ("12\u2009345 … ×0.7 −3", "12,345 ~ x0.7 -3"),
        ("✓ ✗ ▲ ▶ ← →", "v x ! > < >"),
        ("café Ω 日🔎", "cafe ? ????"),
        ("log₁₀ΔW/W ‖dL/dW‖", "log10dW/W |dL/dW|"),
    ],
)
def test_ascii_twins(text: str, ascii_text: str) -> None:
    assert translate(text, "ascii") == ascii_text


def test_blocks_for_braille_and_all_else_as_it_is() -> None:
    assert translate("⠒⠢⠤⣀⡠⠔⠊⠉⡇⢸⣿⠀ ╭ ▁ ×", "block") == "▀▚▄▄▄▞▀▀▌▐█  ╭ ▁ ×"
    assert translate("⠒ ╭", "braille") == "⠒ ╭"


def test_a_twin_is_as_wide_whatever_it_stands_for() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(5)) + chr(
            rng.randrange(0x4E00, 0x1FAFF)
        )
        if any(0xD800 <= ord(c) < 0xE000 for c in text):
            continue
        for character in text:
            for glyphs in GLYPHS:
                assert cell_len(translate(character, glyphs)) == cell_len(character)
            assert translate(character, "ascii").isascii()


class Stream(io.StringIO):
    encoding = "utf-8"


class Latin(io.StringIO):
    encoding = "iso-8859-1"


def test_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getencoding", lambda: "UTF-8")
    assert detect({"TERM": "xterm-256color"}, Stream()) == "braille"
    assert detect({}, Stream()) == "braille"
    assert detect({"TERM": "linux"}, Stream()) == "ascii"
    assert detect({"TERM": "dumb"}, Stream()) == "ascii"
    assert detect({"TERM": "xterm"}, Latin()) == "ascii"
    monkeypatch.setattr(locale, "getencoding", lambda: "ANSI_X3.4-1968")
    assert detect({"TERM": "xterm-256color"}, Stream()) == "ascii"
