"""`tuilab watch PROGRAM` in a pseudo-terminal: the view beside a real program."""

import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.states import RunState
from tests.tuilab.adapters.test_program import TRAIN, recorded, watch, write
from tests.tuilab.support import command, wait_for
from tests.tuilab.terminal import Terminal
from tuilab.record.run_folder import RunFolder

Open = Callable[..., Terminal]
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
PATIENCE = 90.0  # seconds until a program has imported torch and trains, on a busy machine
FOREVER = TRAIN.replace("range(4)", "__import__('itertools').count()").replace(
    "    optimizer.step()",
    "    optimizer.step()\n    print(f'\\x1b[31mstep {step}\\x1b[0m\\x1b]0;WRONG\\x07')\n"
    "    __import__('time').sleep(0.02)",
)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(command("watch", "--out", "run", *words), tmp_path))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def printed(screen: Terminal) -> str:
    """What is on the terminal after the view, of which nothing is left."""
    return screen.written.decode(errors="replace").rpartition("\x1b[?1049l")[2]


@pytest.mark.parametrize(
    ("text", "code", "output"),
    [
        ("import sys\nprint('no training', sys.stdin.read())\nsys.exit(3)", 3, "no training"),
        ("import os\nprint('one')\nos.kill(os.getpid(), 9)", 128 + 9, "one"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_program_that_does_not_train_leaves_its_output_and_exit_code(
    terminal: Open, tmp_path: Path, text: str, code: int, output: str
) -> None:
    screen = terminal(write(tmp_path, text))
    assert screen.process.wait(60) == code
    wait_for(lambda: output in printed(screen))
    assert not (tmp_path / "run").exists()


@needs_torch
def test_the_end_of_a_program_is_shown_and_passed_on(terminal: Open, tmp_path: Path) -> None:
    screen = terminal(write(tmp_path, "print('waits')\n" + TRAIN + "print('bye')\nsys.exit(5)"))
    wait_for(lambda: screen.shows("opens at its first training step"), PATIENCE)
    wait_for(lambda: screen.shows("exit code 5"), PATIENCE)
    screen.press("o")
    wait_for(lambda: screen.shows("waits"))
    screen.press("oq")
    assert screen.process.wait(60) == 5
    wait_for(lambda: "train.py has ended: exit code 5" in printed(screen))
    assert "waits\r\nbye" in printed(screen)
    assert "tuilab replay run" in printed(screen)


@needs_torch
def test_a_program_is_watched_and_stopped(terminal: Open, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    screen = terminal(write(tmp_path, FOREVER))
    wait_for(lambda: screen.shows("▶ running"), PATIENCE)
    screen.press("o")
    wait_for(lambda: screen.shows("step 1"))
    assert b"WRONG" not in screen.written
    screen.press("oq")
    wait_for(lambda: screen.shows("leave it running"))
    screen.press("s")
    assert screen.process.wait(60) == 1
    wait_for(lambda: "tuilab: stopped from the view" in printed(screen))
    assert "Traceback" not in printed(screen)
    assert recorded(folder.path).state is RunState.STOPPED


@needs_torch
def test_a_program_that_makes_no_more_steps_is_terminated(terminal: Open, tmp_path: Path) -> None:
    screen = terminal(write(tmp_path, TRAIN + "import time\ntime.sleep(600)"))
    wait_for(lambda: screen.shows("▶ running"), PATIENCE)
    screen.press("q")
    wait_for(lambda: screen.shows("leave it running"))
    screen.press("s")
    assert screen.process.wait(60) == 128 + signal.SIGTERM
    wait_for(lambda: "train.py has ended: killed by SIGTERM" in printed(screen))


@needs_torch
def test_a_program_continues_without_the_view(terminal: Open, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    own = FOREVER.replace("for step", "__import__('tuilab').watch(model, optimizer)\nfor step")
    screen = terminal(write(tmp_path, own))
    wait_for(lambda: screen.shows("▶ running"), PATIENCE)
    screen.press("q")
    wait_for(lambda: screen.shows("leave it running"))
    screen.press("l")
    assert screen.process.wait(60) == 0
    wait_for(lambda: "train.py continues in run" in printed(screen))
    assert folder.is_alive()
    again = Terminal(command("attach", "run"), tmp_path)
    wait_for(lambda: again.shows("▶ running"), PATIENCE)
    again.press("q")
    wait_for(lambda: again.shows("leave it running"))
    again.press("s")
    again.process.wait(60)
    again.close()
    wait_for(lambda: not folder.is_alive())


@needs_torch
def test_the_view_follows_to_the_folder_that_a_program_chose(
    terminal: Open, tmp_path: Path
) -> None:
    own = "tuilab').watch(model, optimizer, out='its/own')"
    fault = TRAIN.replace("for step", f"__import__('{own}\nfor step") + "raise OSError('full')"
    screen = terminal(write(tmp_path, fault))
    wait_for(lambda: screen.shows("failed") and screen.shows("exit code 1"), PATIENCE)
    screen.press("o")
    wait_for(lambda: screen.shows("OSError: full"))
    screen.press("oq")
    assert screen.process.wait(60) == 1
    wait_for(lambda: "OSError: full" in printed(screen))
    assert not (tmp_path / "run").exists()
    assert "OSError: full" in RunFolder(tmp_path / "its" / "own").log_tail()


@needs_torch
def test_the_view_goes_on_to_the_run_of_the_next_model(terminal: Open, tmp_path: Path) -> None:
    again = TRAIN.partition("torch.manual_seed(0)")[2]
    screen = terminal(write(tmp_path, f"{TRAIN}\ndel model, optimizer\n{again}"))
    wait_for(lambda: screen.shows("exit code 0") and screen.shows("run-2"), PATIENCE)
    screen.press("v")
    wait_for(lambda: screen.shows("finished  step 4"))  # its exit code is of the last run
    screen.press("q")
    assert screen.process.wait(60) == 0
    wait_for(lambda: "tuilab replay run-2" in printed(screen))
    assert {path.name for path in (tmp_path / "run-2").iterdir()} >= {"run.db", "worker.log"}
    assert not (tmp_path / "run" / "further-runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--every", "-1", "train.py"), "'-1' is not a share of the time"),
        ((), "give a PROGRAM, or -m MODULE"),
        (("--out", "taken", "train.py"), "taken already holds a run"),
    ],
)
def test_bad_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write(tmp_path, "")
    write(tmp_path, "", "taken/scenario.toml")
    result = watch(tmp_path, *words)
    assert result.returncode == 2
    assert message in result.stderr


def test_the_view_needs_a_terminal(tmp_path: Path) -> None:
    write(tmp_path, "")
    screen = Terminal(["sh", "-c", " ".join(command("watch", "train.py")) + " | cat"], tmp_path)
    wait_for(lambda: screen.shows("add --headless"))
    screen.close()
