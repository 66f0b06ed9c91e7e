"""What is remembered, and what becomes of it when its file is damaged, read-only or shared."""

import json
import os
import threading
from pathlib import Path

import pytest

from tuilab.viewer.model.settings import VARIABLE, Memory, Settings, settings_path


def test_choices_are_there_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "settings.json"
    memory = Memory(path)
    assert (memory.settings, memory.problem) == (Settings(), "")
    assert not path.exists()
    memory.remember(theme="light", beside=False)
    again = Memory(path)
    assert again.settings == Settings(theme="light", beside=False)
    assert [p.name for p in path.parent.iterdir()] == ["settings.json"]


def test_two_views_keep_what_the_other_chose_and_what_a_newer_one_knows(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"of_a_newer_version": 1}')
    one, other = Memory(path), Memory(path)
    one.remember(theme="light")
    other.remember(glyphs="ascii")
    assert json.loads(path.read_text()) == {
        "of_a_newer_version": 1,
        "theme": "light",
        "glyphs": "ascii",
    }


def test_a_file_of_the_first_version_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"theme": "colour-blind", "glyphs": "block", "beside": false}')
    memory = Memory(path)
    assert memory.problem == ""
    assert memory.settings == Settings(theme="colour-blind", glyphs="block", beside=False)


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[]", b'{"glyphs": "runes"}', b"\xff\x00", b'{"theme": 3}']
)
def test_a_damaged_file_means_the_defaults_and_is_mended(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    memory = Memory(path)
    assert memory.settings == Settings()
    assert str(path) in memory.problem
    memory.remember(theme="light")
    assert memory.problem == ""
    assert Memory(path).settings == Settings(theme="light")


def test_what_cannot_be_written_is_told_and_counts_for_now(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = Memory(tmp_path / "file" / "settings.json")
    memory.remember(theme="light")
    assert "cannot be written" in memory.problem
    assert memory.settings.theme == "light"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"

    def write(name: str) -> None:
        for _ in range(40):
            Memory(path).remember(theme=name * 500)

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        memory = Memory(path)
        assert memory.problem == ""
        assert memory.settings.theme in ("dark", "a" * 500, "b" * 500)
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    link = tmp_path / "settings.json"
    link.symlink_to(real)
    Memory(link).remember(theme="light")
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"theme": "light"}


def test_the_place_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert settings_path() == Path(os.environ[VARIABLE])  # which no test leaves to the user's own
    monkeypatch.delenv(VARIABLE)
    assert settings_path().name == "settings.json"
    assert tmp_path not in settings_path().parents
