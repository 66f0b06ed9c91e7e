"""The command in a real pseudo-terminal with a real worker: keys in, events in the database."""

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.statistics.frames import Event
from tests.tuilab.support import (
    FOREVER,
    carried_out,
    command,
    small,
    steps_made,
    wait_for,
    write_scenario,
)
from tests.tuilab.terminal import Terminal
from tuilab.record import RunReader
from tuilab.record.run_folder import RunFolder

Open = Callable[..., Terminal]


@pytest.fixture
def terminal(lab: Path) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str | Path, **more: str) -> Terminal:
        opened.append(Terminal(command(*arguments), lab, more=more))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def scenario(lab: Path) -> Path:
    return write_scenario(lab / "small.toml", small(train={"steps": FOREVER}))


def events(folder: RunFolder) -> list[Event]:
    with RunReader(folder.database) as reader:
        return carried_out(reader)


def kinds(folder: RunFolder) -> list[str]:
    return [event.kind for event in events(folder)]


def test_keys_become_events_and_leaving_leaves_the_run_alone(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    folder = RunFolder(lab / "run")
    screen = terminal("run", scenario, "--out", folder.path)
    wait_for(lambda: screen.shows("running") and steps_made(folder) > 0)
    screen.press("]")
    wait_for(lambda: kinds(folder) == ["set"])
    changed = events(folder)[0]
    assert changed.detail == {"key": "learning_rate", "value": 0.0625, "previous": 0.05}
    assert 0 < changed.step <= steps_made(folder)
    wait_for(lambda: screen.shows("6.25e-2"))
    screen.press(" ")
    wait_for(lambda: screen.shows("paused"))
    paused_at = steps_made(folder)
    screen.press("n")
    wait_for(lambda: steps_made(folder) == paused_at + 1)
    assert kinds(folder) == ["set", "pause", "step"]
    screen.press("q")
    wait_for(lambda: screen.shows("leave it running"))
    screen.press("l")
    assert screen.process.wait(20) == 0
    assert folder.is_alive()
    again = terminal("attach", folder.path)
    wait_for(lambda: again.shows("paused"))
    again.press("q")
    wait_for(lambda: again.shows("leave it running"))
    again.press("s")
    assert again.process.wait(20) == 0
    wait_for(lambda: not folder.is_alive())
    assert kinds(folder)[-1] == "stop"
    finished = terminal("replay", folder.path)
    wait_for(lambda: finished.shows("stopped"))
    finished.press("q")
    assert finished.process.wait(20) == 0


def test_the_network_is_changed_while_it_trains(terminal: Open, scenario: Path, lab: Path) -> None:
    folder = RunFolder(lab / "run")
    screen = terminal("run", scenario, "--out", folder.path)
    wait_for(lambda: screen.shows("running") and steps_made(folder) > 0)
    screen.press("-")
    wait_for(lambda: kinds(folder) == ["speed"])
    wait_for(lambda: screen.shows("≤"))
    screen.press("e")
    wait_for(lambda: screen.shows("change the network"))
    screen.press("\x1b[B\r")  # insert batch norm
    wait_for(lambda: screen.shows("all hidden layers"))
    screen.press("\r")
    wait_for(lambda: kinds(folder) == ["speed", "batch_norm"])
    wait_for(lambda: screen.shows("network rebuilt at step"))
    screen.press("b")
    wait_for(lambda: screen.shows("now 12 of"))
    screen.press("6\r")
    wait_for(lambda: kinds(folder)[2:] == ["batch_size"])
    screen.press("N")
    wait_for(lambda: kinds(folder)[3:] == ["run_to_epoch", "pause"])
    with RunReader(folder.database) as reader:
        info = reader.info()
    assert (info.state, info.batch_size) == ("paused", 6)
    assert [layer.normalization for layer in info.layers] == ["batch_norm", "batch_norm", ""]
    *_, changed, _, pause = events(folder)
    assert (pause.step - changed.step) % info.steps_per_epoch == 0
    screen.press("q")
    wait_for(lambda: screen.shows("leave it running"))
    screen.press("s")
    assert screen.process.wait(20) == 0


def test_the_run_survives_a_killed_viewer_and_a_terminal_that_hangs_up(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    folder = RunFolder(lab / "run")
    screen = terminal("run", scenario, "--out", folder.path)
    wait_for(lambda: screen.shows("running") and steps_made(folder) > 0)
    screen.process.kill()
    screen.process.wait()
    before = steps_made(folder)
    wait_for(lambda: steps_made(folder) > before)
    again = terminal("attach", folder.path)
    wait_for(lambda: again.shows("running"))
    again.hang_up()
    again.process.wait(20)  # it does not stay behind without a terminal
    before = steps_made(folder)
    wait_for(lambda: steps_made(folder) > before)


def test_the_viewer_says_that_the_worker_was_killed_and_where_its_log_is(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    folder = RunFolder(lab / "run")
    screen = terminal("run", scenario, "--out", folder.path)
    wait_for(lambda: screen.shows("running") and steps_made(folder) > 0)
    with RunReader(folder.database) as reader:
        os.kill(reader.info().pid, 9)
    wait_for(lambda: screen.shows("killed") and screen.shows("worker.log"))
    screen.press("q")
    assert screen.process.wait(20) == 0


def test_a_restart_follows_a_new_run_and_keeps_the_old_one(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    first, second = RunFolder(lab / "run"), RunFolder(lab / "run-2")
    screen = terminal("run", scenario, "--out", first.path)
    wait_for(lambda: screen.shows("running") and steps_made(first) > 0)
    screen.press("R")
    wait_for(lambda: steps_made(second) > 0)
    wait_for(lambda: not first.is_alive())
    with RunReader(first.database) as old, RunReader(second.database) as new:
        assert old.info().state == "stopped"
        assert new.info().restarted_from == "run"
        assert new.info().seed != old.info().seed


def test_bad_data_is_told_on_the_screen_and_after_it(terminal: Open, lab: Path) -> None:
    table = small(data={"source": "cifar10", "batch_size": 10})
    for key in ("samples", "features", "classes"):
        del table["data"][key]
    screen = terminal("run", write_scenario(lab / "images.toml", table), "--out", lab / "run")
    wait_for(lambda: screen.shows("cifar-10-batches-bin"))
    screen.press("q")
    assert screen.process.wait(20) == 2


def test_a_run_that_explodes_is_shown_to_its_last_number(terminal: Open, lab: Path) -> None:
    network = {"hidden": [20] * 8, "activation": "relu", "initializer": "he"}
    table = small(network=network, optimizer={"learning_rate": 1e6}, train={"steps": 50})
    folder = RunFolder(lab / "run")
    screen = terminal("run", write_scenario(lab / "wild.toml", table), "--out", folder.path)
    wait_for(lambda: screen.shows("diverged") and screen.shows("the loss became nan"))
    wait_for(lambda: screen.shows("NaN") or screen.shows("⊘"))
    screen.press("2")
    screen.resize(80, 24)
    screen.press("q")
    assert screen.process.wait(20) == 0


def test_a_comparison_is_watched_in_turn_and_stopped_as_one(terminal: Open, lab: Path) -> None:
    variants = [{"name": "slow", "optimizer": {"learning_rate": 1e-6}}, {"name": "fast"}]
    expect = [{"metric": "variants.slow.loss / variants.fast.loss", "above": 1}]
    table = small(train={"steps": FOREVER}, expect=expect) | {"variant": variants}
    slow, fast = (RunFolder(lab / "run" / name) for name in ("slow", "fast"))
    screen = terminal("run", write_scenario(lab / "rates.toml", table), "--out", lab / "run")
    wait_for(lambda: all(steps_made(folder) > 0 for folder in (slow, fast)))
    wait_for(lambda: screen.shows("slow") and screen.shows("running"))
    screen.press("3")
    wait_for(lambda: screen.shows("variants."))  # the claim over both
    screen.press("v")
    wait_for(lambda: screen.shows("fast"))
    screen.press("]")
    wait_for(lambda: kinds(fast) == ["set"])
    assert kinds(slow) == []
    screen.press("q")
    wait_for(lambda: screen.shows("stop the runs and leave"))
    screen.press("s")
    assert screen.process.wait(20) == 0
    wait_for(lambda: not slow.is_alive() and not fast.is_alive())
    assert (kinds(slow), kinds(fast)) == (["stop"], ["set", "stop"])
    again = terminal("replay", lab / "run")
    wait_for(lambda: again.shows("stopped"))
    again.press("v")
    wait_for(lambda: again.shows("slow") and again.shows("fast"))
    again.press("q")
    assert again.process.wait(20) == 0


def test_the_tour_from_the_list_to_a_run_and_on(terminal: Open, lab: Path) -> None:
    (lab / "scenarios").mkdir()
    for name in ("first", "second"):
        table = small(train={"steps": FOREVER}, look_at=f"What to see in the {name}.")
        write_scenario(lab / "scenarios" / f"{name}.toml", table)
    app = terminal()  # no command at all
    wait_for(lambda: app.shows("a tour of 2 scenarios"))
    app.press("\r")
    wait_for(lambda: app.shows("What to see in the first."))
    (first,) = wait_for(lambda: [RunFolder(path) for path in lab.glob("runs/*-first")])
    wait_for(lambda: steps_made(first) > 0)
    app.press(">")
    wait_for(lambda: app.shows("What to see in the second."))
    (second,) = wait_for(lambda: [RunFolder(path) for path in lab.glob("runs/*-second")])
    wait_for(lambda: steps_made(second) > 0)
    wait_for(lambda: not first.is_alive())
    app.press("q")
    wait_for(lambda: app.shows("stop the run and leave"))
    app.press("s")
    assert app.process.wait(timeout=30) == 0
    assert "stop" in kinds(second)


def codes(written: bytes | bytearray) -> set[str]:
    """Return all codes of styles in what was written."""
    found = re.findall(rb"\x1b\[([\d;]*)m", written)
    return {code for codes in found for code in codes.decode().split(";")}


def test_no_colour_and_no_glyph_leaves_where_none_is_wanted(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    folder = RunFolder(lab / "run")
    screen = terminal("run", scenario, "--out", folder.path, "--glyphs", "ascii", NO_COLOR="1")
    wait_for(lambda: screen.shows("running") and steps_made(folder) > 0)
    for keys, shown in (("?", "esc: close"), ("\x1b", "running"), ("l", "enter: apply")):
        screen.press(keys)
        wait_for(partial(screen.shows, shown))
    assert bytes(screen.written).isascii()
    assert codes(screen.written) <= {"", "0", "1", "2", "3", "4", "7"}
    colourful = terminal("attach", folder.path, COLORTERM="truecolor")
    wait_for(lambda: colourful.shows("running"))
    assert not bytes(colourful.written).isascii()
    assert "38" in codes(colourful.written)


def test_a_terminal_that_cannot_show_our_glyphs_gets_ascii(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    screen = terminal("run", scenario, "--out", lab / "run", TERM="linux")
    wait_for(lambda: screen.shows("running"))
    assert bytes(screen.written).isascii()
    assert screen.shows("+- Loss")


def test_the_mouse_is_left_to_the_terminal_when_asked(
    terminal: Open, scenario: Path, lab: Path
) -> None:
    screen = terminal("run", scenario, "--out", lab / "run", "--no-mouse")
    wait_for(lambda: screen.shows("running"))
    assert b"\x1b[?1000h" not in screen.written
    with_mouse = terminal("attach", lab / "run")
    wait_for(lambda: with_mouse.shows("running"))
    assert b"\x1b[?1000h" in with_mouse.written


def test_an_unknown_theme_is_refused_before_anything_runs(terminal: Open, lab: Path) -> None:
    screen = terminal("run", "none.toml", "--theme", "drak")
    assert screen.process.wait(20) == 2
    wait_for(lambda: screen.shows("did you mean 'dark'?"))


@pytest.mark.parametrize("name", ["tmux-256color", "screen", "xterm"])
def test_terminals_of_fewer_colours(terminal: Open, scenario: Path, lab: Path, name: str) -> None:
    screen = terminal("run", scenario, "--out", lab / "run", TERM=name, COLORTERM="")
    wait_for(lambda: screen.shows("running"))
    assert b"\x1b[38;2;" not in screen.written
    assert any(code.startswith(("3", "9")) for code in codes(screen.written))
