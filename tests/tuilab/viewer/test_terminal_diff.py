"""Frames as few bytes: a terminal shows the same, and hears less."""

import random

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tests.tuilab.screen import Screen
from tuilab.viewer.terminal.terminal_diff import Screenful

WIDTH, HEIGHT = 24, 5
CONSOLES = {
    "standard": Console(color_system="standard", force_terminal=True),
    "256": Console(color_system="256", force_terminal=True),
    "truecolor": Console(color_system="truecolor", force_terminal=True),
}
CONSOLE = CONSOLES["truecolor"]
STYLES = (
    "none", "bold", "#ff0000", "#00ff00 on #111111", "on #222222", "dim", "reverse",
    "bold #ff0000 on #111111",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _new_styles() -> None:
    """A style of Rich keeps the codes of the first colour system that it was asked for."""
    Style.parse.cache_clear()


def strip(rng: random.Random, width: int) -> Strip:
    segments, room = [], width
    while room:
        text = rng.choice(["a", " ", "⠒⠒", "日", "word", "     "])
        size = Segment(text).cell_length
        if size <= room:
            segments.append(Segment(text, Style.parse(rng.choice(STYLES))))
            room -= size
    return Strip(segments)


@pytest.mark.parametrize("system", CONSOLES)
def test_the_terminal_shows_what_textual_would_have_drawn(system: str) -> None:
    console = CONSOLES[system]
    rng = random.Random(0)
    ours, theirs, screenful = Screen(), Screen(), Screenful()
    halves = (WIDTH // 2, WIDTH)
    rows = [[strip(rng, WIDTH // 2), strip(rng, WIDTH // 2)] for _ in range(HEIGHT)]
    saved = 0
    for turn in range(300):
        change: LayoutUpdate | ChopsUpdate
        if turn % 50 == 0:
            change = LayoutUpdate([list(row) for row in rows], Region(0, 0, WIDTH, HEIGHT))
        else:
            y, half = rng.randrange(HEIGHT), rng.randrange(2)
            rows[y][half] = strip(rng, WIDTH // 2)
            chops = [dict(zip((0, WIDTH // 2), row, strict=True)) for row in rows]
            spans = [(y, half * WIDTH // 2, halves[half])]
            change = ChopsUpdate(chops, spans, [list(halves)] * HEIGHT)
        plain = change.render_segments(console)
        thrifty = screenful.update(change).render_segments(console)
        theirs.feed(plain.encode())
        ours.feed(thrifty.encode())
        assert ours.cells == theirs.cells
        saved += len(plain) - len(thrifty)
    assert saved > 0


def chops(*rows: Strip) -> ChopsUpdate:
    spans = [(y, 0, WIDTH) for y in range(len(rows))]
    return ChopsUpdate([{0: row} for row in rows], spans, [[WIDTH]] * len(rows))


def row(text: str, style: str = "#ff0000") -> Strip:
    return Strip([Segment(text.ljust(WIDTH), Style.parse(style))])


def test_only_what_differs_is_sent_and_a_full_update_heals() -> None:
    screenful = Screenful()
    whole = LayoutUpdate([[row("step 12")], [row("")]], Region(0, 0, WIDTH, 2))
    assert "step 12" in screenful.update(whole).render_segments(CONSOLE)
    again = screenful.update(chops(row("step 12"), row("")))
    assert again.render_segments(CONSOLE) == ""
    counted = screenful.update(chops(row("step 13"), row("")))
    assert counted.render_segments(CONSOLE) == "\x1b[1;7H\x1b[38;2;255;0;0m3\x1b[0m"
    assert "step 12" in screenful.update(whole).render_segments(CONSOLE)


def test_what_is_no_update_of_the_screen_passes() -> None:
    assert Screenful().update("text") == "text"
    assert Screenful().update(None) is None
