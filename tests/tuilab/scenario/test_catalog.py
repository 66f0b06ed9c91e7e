"""Scenarios by chapter and by name, in a checkout and where only the package is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuilab.conftest import Cli
from tests.tuilab.support import small, write_scenario
from tuilab.errors import ScenarioError
from tuilab.scenario import catalog
from tuilab.scenario.catalog import CHAPTERS, INSTALLED, OTHERS, chapters, entries, listing, resolve

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scenarios(lab: Path) -> Path:
    """Scenarios of every kind, in ./scenarios."""
    root = lab / "scenarios"
    (root / "search").mkdir(parents=True)
    (root / "my_own").mkdir()
    expect = [{"claim": "it learns", "metric": "loss", "at": "end", "below": 1.0}]
    words = {"question": "Why?", "look_at": "The loss.", "lecture": "weight initialization"}
    whole = small(expect=expect, **words)
    write_scenario(root / "first.toml", whole)
    write_scenario(root / "search" / "coarse.toml", small(lecture="weight initialization"))
    write_scenario(root / "my_own" / "mine.toml")
    write_scenario(root / "stray.toml", small(lecture="something else"))
    write_scenario(root / "untold.toml")
    (root / "broken.toml").write_text("title = ")
    return root


def test_chapters_are_folders_or_what_the_file_says_in_the_lectures_order(scenarios: Path) -> None:
    found = {chapter: [e.name for e in group] for chapter, group in chapters(entries(scenarios))}
    assert list(found) == [
        "weight initialization",
        "hyperparameter search",
        "my own",
        "something else",
        OTHERS,
    ]
    assert found["hyperparameter search"] == ["coarse"]
    assert found[OTHERS] == ["broken", "untold"]


def test_within_a_chapter_the_readme_gives_the_order(scenarios: Path) -> None:
    for name in ("a", "b", "c"):
        write_scenario(scenarios / "search" / f"{name}.toml")
    (scenarios / "README.md").write_text("[c](search/c.toml) and then [b](search/b.toml)")
    found = [entry.name for entry in entries(scenarios) if entry.chapter.startswith("hyper")]
    assert found == ["c", "b", "a", "coarse"]


def test_an_entry_knows_what_a_list_shows(scenarios: Path) -> None:
    by_name = {entry.name: entry for entry in entries(scenarios)}
    first = by_name["first"]
    assert (first.title, first.question, first.look_at) == ("A small one", "Why?", "The loss.")
    assert first.claims == ("it learns",)
    assert "cannot be read" in by_name["broken"].problem


def test_the_scenarios_of_the_package_are_those_of_the_repository() -> None:
    files = {path.relative_to(ROOT / "scenarios") for path in (ROOT / "scenarios").rglob("*.toml")}
    assert {path.relative_to(INSTALLED) for path in INSTALLED.rglob("*.toml")} == files
    found = entries(INSTALLED)
    assert len(found) == len(files)
    assert {entry.chapter for entry in found} <= set(CHAPTERS.values())
    assert not any(entry.problem for entry in found)


@pytest.mark.parametrize("odd", ["[expect]", "expect = 3", "[[expect]]\nclaim = 3", "title = 3"])
def test_a_file_with_odd_values_is_still_listed(lab: Path, odd: str) -> None:
    (lab / "odd.toml").write_text(odd)
    (entry,) = entries(lab)
    assert (entry.claims, entry.title, entry.problem) == ((), "", "")


def test_a_folder_without_scenarios_says_so(lab: Path) -> None:
    with pytest.raises(ScenarioError, match="contains no scenarios"):
        entries(lab)


class TestNames:
    def test_a_file_is_meant_as_such(self, scenarios: Path, lab: Path) -> None:
        path = write_scenario(lab / "xavier_relu.toml")
        assert resolve(path) == path
        assert resolve(Path("xavier_relu")) == Path("xavier_relu.toml")
        assert resolve(Path("missing.toml")) == Path("missing.toml")  # the reader will complain

    def test_a_name_is_looked_for_here_first_and_then_in_the_package(self, scenarios: Path) -> None:
        assert resolve(Path("coarse")) == Path("scenarios/search/coarse.toml")
        assert resolve(Path("search/coarse")) == Path("scenarios/search/coarse.toml")
        assert resolve(Path("xavier_relu")) == INSTALLED / "xavier_relu.toml"
        write_scenario(scenarios / "xavier_relu.toml")
        assert resolve(Path("xavier_relu")) == Path("scenarios/xavier_relu.toml")

    @pytest.mark.parametrize("name", ["xavier_rely", "nothing/like/it", ".", ".."])
    def test_an_unknown_name_is_answered_with_the_nearest(self, cli: Cli, name: str) -> None:
        code, out, err = cli("run", name, "--headless")
        assert (code, out) == (2, "")
        if name == "xavier_rely":
            assert "did you mean xavier_relu?" in err
            assert "tuilab tour --list" in err

    @pytest.mark.parametrize("command", ["run", "check", "gradcheck", "test"])
    def test_every_command_takes_a_name(self, cli: Cli, scenarios: Path, command: str) -> None:
        more = ["--headless"] if command == "run" else []
        if command in ("run", "test"):
            more += ["--set", "train.steps=2", "--set", "expect=[]"]
        code, out, _ = cli(command, "first", *more)
        assert code in (0, 1)
        assert out


class TestTour:
    def test_the_list_is_text(self, cli: Cli) -> None:
        code, out, err = cli("tour", "--list")
        assert (code, err) == (0, "")
        assert "weight initialization\n" in out
        assert "xavier_relu" in out
        assert "Why does a rule for tanh fail in a deep ReLU network?" in out
        assert out.rstrip() == listing(entries(INSTALLED))

    def test_it_needs_a_terminal(self, cli: Cli) -> None:
        code, out, err = cli("tour")
        assert (code, out) == (2, "")
        assert "tuilab tour --list" in err

    def test_no_arguments_and_no_terminal_print_the_help(self, cli: Cli) -> None:
        code, out, err = cli()
        assert code == 2
        assert "Commands:" in out + err

    def test_without_any_scenarios_it_says_so(
        self, cli: Cli, lab: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalog, "INSTALLED", lab / "nowhere")
        code, _, err = cli("tour", "--list")
        assert code == 2
        assert "contains no scenarios" in err


def test_a_wheel_has_the_scenarios(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for name in ("engine", "tuilab", "scenarios", "pyproject.toml", "README.md", "LICENSE"):
        here = ROOT / name
        if here.is_dir():
            shutil.copytree(here, source / name, symlinks=True)
        else:
            shutil.copy(here, source / name)
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (wheel,) = source.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    found = entries(tmp_path / "installed" / "tuilab" / "scenarios")
    assert [entry.name for entry in found] == [entry.name for entry in entries(INSTALLED)]
    assert not (tmp_path / "installed" / "scenarios").exists()
