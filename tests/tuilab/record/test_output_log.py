"""A log as a terminal would show it, and harmless."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuilab.record.output_log import MOST_LINES, TAIL, OutputLog, Printout, tail


def shown(*parts: str) -> list[str]:
    printout = Printout()
    for part in parts:
        printout.feed(part)
    return printout.lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one\ntwo\n", ["one", "two", ""]),
        ("one\r\ntwo", ["one", "two"]),
        (" 10%|#  |\r 50%|## |\r100%|###|", ["100%|###|"]),
        ("12345\rab", ["ab345"]),
        ("12345\r\x1b[Kab", ["ab"]),
        ("12345\x1b[2D\x1b[1K", ["   45"]),
        ("12345\x1b[2K", ["     "]),
        ("abc\b\bX", ["aXc"]),
        ("a\tb", ["a       b"]),
        ("outer\n\rinner 1\x1b[A\rOUTER\n\rinner 2", ["OUTER", "inner 2"]),
        ("one\ntwo\nthree\x1b[2A\x1b[J!", ["one  !"]),
        ("\x1b[31mred\x1b[0m", ["red"]),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", ["textlink"]),
        ("\x1b[2J\x1b[H\x1b(B\x1b7\x1b8\x1b=home", ["home"]),
        ("\x00\x03\x7f\x9b", ["^@^C^?\\x9b"]),
        ("bell\x07", ["bell"]),
        ("left\u202eright", ["left\\u202eright"]),
        ("no\u00a0break", ["no break"]),
        ("\x1b[99999999999A\x1b[99999999999Cx"[:14] + "ok", ["ok"]),
    ],
)
def test_what_a_terminal_would_show(text: str, lines: list[str]) -> None:
    assert shown(text) == lines
    assert shown(*text) == lines  # whatever the pieces in which it is read


@given(
    st.lists(st.text(st.sampled_from("ab\n\r\b\t\x1b[]()0;12KAJCDGm\x07\x9b\u202e界")), max_size=6)
)
def test_nothing_that_a_terminal_would_obey_is_left(parts: list[str]) -> None:
    for line in shown(*parts):
        assert line.isprintable()


def test_a_log_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    log = OutputLog(path)
    assert not log.poll()  # there is none yet
    path.write_bytes("für".encode()[:2])
    assert log.poll()
    with path.open("ab") as file:
        file.write("für".encode()[2:] + b"\nnext\n")
    assert log.poll()
    assert log.lines == ["für", "next"]
    assert not log.poll()
    path.write_text("another\n")
    assert log.poll()
    assert log.lines == ["another"]


def test_of_a_long_log_the_end_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("".join(f"line {n}\n" for n in range(200_000)))
    log = OutputLog(path)
    log.poll()
    assert log.shortened
    assert log.lines[-1] == "line 199999"
    assert log.lines[0].startswith("line ")
    assert len(log.lines) <= MOST_LINES
    with path.open("a") as file:
        file.write("x" * 3 * TAIL + "\nlast\n")
    log.poll()
    assert log.lines[-1] == "last"
    assert tail(path, 1) == ["last"]
    assert tail(tmp_path / "absent", 3) == []
