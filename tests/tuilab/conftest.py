import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tuilab.support import CONFIG, kill_workers
from tuilab.cli.main import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def view_of_a_new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the choices of who runs it; terminals show everything."""
    monkeypatch.setenv(CONFIG, str(tmp_path / "config" / "settings.json"))
    for variable in ("NO_COLOR", "TUILAB_THEME", "TUILAB_GLYPHS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; no worker that was started there outlives the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUILAB_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    yield tmp_path
    kill_workers(tmp_path)


def prepare(folder: Path, *commands: tuple[str, ...]) -> None:
    """Run commands in this process, in `folder`, for tests that each begin with a copy of it."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        patch.delenv("TUILAB_DATA", raising=False)
        patch.setenv(CONFIG, str(folder / "settings.json"))
        for arguments in commands:
            with pytest.raises(SystemExit) as left:
                main(arguments)
            assert left.value.code == 0, arguments


@pytest.fixture
def cli(lab: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process, in the lab: (exit code, stdout, stderr)."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        code = left.value.code
        assert isinstance(code, int)
        return code, out, err

    return call
