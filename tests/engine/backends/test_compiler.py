"""The compiler of kernels: a machine that has none, or one that does not work."""

import ctypes
import os
import platform
import stat
import tomllib
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.backends import make_backend
from engine.backends.cpu_kernels import compiler, library
from engine.backends.cpu_kernels.compiler import NotCompiledError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an empty cache, and with nothing loaded."""
    monkeypatch.setattr(library, "_loaded", library._loaded.__wrapped__)
    monkeypatch.setattr(compiler, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-O0"))  # a third of the time
    for variable in ("CC", compiler.MARCH, library.SWITCH):
        monkeypatch.delenv(variable, raising=False)


def put_first(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a compiler of this name before all others."""
    made = folder / "mycc"
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(made))


def real() -> str:
    try:
        return compiler._compiler()[0]
    except NotCompiledError as error:
        pytest.skip(str(error))


def test_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert library.kernels("float32") is None
    assert library.missing("float32") == "there is no C compiler (cc, gcc or clang)"
    backend = make_backend("numpy")
    assert backend.kernel("sgd") is None


def test_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, "echo error: no such language >&2; exit 1", monkeypatch)
    assert "error: no such language" in library.missing("float32")


def test_it_says_nothing_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, "exit 0", monkeypatch)
    assert "no message" in library.missing("float32")


def test_what_it_makes_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, 'while [ "$1" != -o ]; do shift; done; echo x > "$2"', monkeypatch)
    assert "cannot be loaded" in library.missing("float32")


def test_it_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "PATIENCE", 0.2)
    put_first(tmp_path, "exec sleep 60", monkeypatch)
    assert "cannot be run" in library.missing("float32")


def test_it_knows_no_flag_for_this_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'case "$*" in *native*) exit 1;; esac; exec {real()} "$@"'
    put_first(tmp_path, script, monkeypatch)
    assert library.missing("float32") == ""


def test_it_has_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, f'echo "$1" > {tmp_path}/log; shift; exec {real()} "$@"', monkeypatch)
    monkeypatch.setenv("CC", f"{tmp_path}/mycc --quick")
    assert library.missing("float32") == ""
    assert (tmp_path / "log").read_text() == "--quick\n"


def test_it_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '")
    assert library.missing("float32") == "CC is not a command: No closing quotation"


def test_they_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'echo once >> {tmp_path}/log; exec {real()} "$@"'
    put_first(tmp_path, script, monkeypatch)
    for _ in range(3):
        assert library.kernels("float32") is not None
    assert (tmp_path / "log").read_text() == "once\n"
    assert [each.suffix for each in (tmp_path / "cache").iterdir()] == [".so"]


def test_what_was_kept_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real()
    assert library.kernels("float32") is not None
    (kept,) = (tmp_path / "cache").iterdir()
    # In another folder: a library of this path is loaded, and would not be read again.
    monkeypatch.setattr(compiler, "user_cache_path", lambda *_, **__: tmp_path / "other")
    broken = tmp_path / "other" / kept.name
    broken.parent.mkdir()
    broken.write_bytes(b"not a library")
    assert library.kernels("float32") is not None
    assert broken.read_bytes() == kept.read_bytes()  # it is whole again


def test_another_processor_has_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real()
    assert library.kernels("float32") is not None
    monkeypatch.setattr(compiler, "_processor", lambda: "another")
    assert library.kernels("float32") is not None
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of other processors")
def test_the_processors_to_compile_for_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_first(tmp_path, f'echo "$*" >> {tmp_path}/log; exec {real()} "$@"', monkeypatch)
    assert library.kernels("float32") is not None
    monkeypatch.setenv(compiler.MARCH, "x86-64-v2")
    assert library.kernels("float32") is not None
    monkeypatch.setenv(compiler.MARCH, "no-such")
    assert "no-such" in library.missing("float32")
    calls = [
        [word for word in line.split() if "-march" in word]
        for line in (tmp_path / "log").read_text().splitlines()
    ]
    assert calls == [["-march=native"], ["-march=x86-64-v2"], ["-march=no-such"]]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_those_that_nobody_loads_any_more_are_deleted(tmp_path: Path) -> None:
    real()
    old, new = (tmp_path / "cache" / f"kernels-{each}.so" for each in ("old", "new"))
    old.parent.mkdir()
    for each in (old, new):
        each.write_text("")
    os.utime(old, (0, 0))
    assert library.kernels("float32") is not None
    assert not old.exists()
    assert new.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_the_cache_cannot_be_written(tmp_path: Path) -> None:
    real()
    tmp_path.chmod(0o500)
    assert library.kernels("float32") is not None


def test_the_cache_is_no_folder(tmp_path: Path) -> None:
    real()
    (tmp_path / "cache").write_text("a file")
    assert library.kernels("float32") is not None


def test_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.SWITCH, "off")
    assert library.missing("float32") == "TUILAB_KERNELS is off"


def test_there_is_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "nowhere" in library.missing("float32")


def test_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> Path:
        raise RuntimeError("could not determine the home directory")

    real()
    monkeypatch.setattr(compiler, "user_cache_path", nobody)
    assert "home directory" in library.missing("float32")


def test_it_speaks_another_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, r"printf 'error: \344\366\374' >&2; exit 1", monkeypatch)
    assert "error" in library.missing("float32")


def test_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_first(tmp_path, "kill -9 $$", monkeypatch)
    assert "was killed" in library.missing("float32")


def test_what_was_kept_is_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real()
    assert library.kernels("float32") is not None
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert "belongs to another user" in library.missing("float32")


def test_temporary_files_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_kept(path: Path) -> ctypes.CDLL:
        if tmp_path not in path.parents or not path.exists():
            raise OSError("failed to map segment")
        return ctypes.CDLL(str(path))

    real()
    monkeypatch.setattr(compiler, "_loaded", only_kept)
    assert library.missing("float32") == ""


def test_a_package_has_whatever_is_no_python() -> None:
    root = Path(__file__).parents[3]
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = table["tool"]["setuptools"]["package-data"]["*"]
    others = [
        path.name
        for path in (root / "engine").rglob("*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert "statistics.c" in others
    assert [name for name in others if not any(map(partial(fnmatch, name), patterns))] == []
