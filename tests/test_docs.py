"""What the documentation shows works: commands, Python, SQL and scenarios."""

import os
import re
import sqlite3
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
import tomli_w

from docs import hooks, pictures, reference
from tests.documentation import (
    FEW,
    PAGES,
    ROOT,
    Command,
    blocks,
    commands,
    tables,
    write_small_scenarios,
)
from tests.tuilab.support import CONFIG, command, kill_workers, wait_for
from tests.tuilab.terminal import Terminal
from tuilab.cli.main import main
from tuilab.diagnosis.base import rules
from tuilab.scenario.loading import load_file
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.panels.layer.views import VIEWS, help_lines

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_RUN: Final = {
    "pipx install .": "installs",
    "uvx --from . tuilab": "installs",
    "python3 -m venv .venv": "installs",
    ". .venv/bin/activate": "changes the shell",
    "pytest": "this is pytest",
    "pytest -n 0 FILE": "this is pytest",
    "pytest -m slow": "this is pytest",
    "pytest -m parity": "this is pytest",
    "ruff check .": "CI runs it",
    "ruff format --check .": "CI runs it",
    "mypy": "CI runs it",
    "lint-imports": "CI runs it",
    "mkdocs build": "CI runs it",
    "mkdocs serve": "does not end; CI runs mkdocs build",
    "python -m docs.pictures --readme": "trains for half a minute",
    "tuilab data fetch cifar10": "downloads 170 MB",
    "tuilab run he_relu --backend cupy": "needs a GPU",
    "tuilab watch --headless train.py": "replaces the process that calls it",
}
INTERACTIVE: Final = ("attach", "compare", "replay", "tour", "watch")
"""Commands that open the view: without a terminal they check their arguments, then refuse."""
VIEWED: Final = {
    "tuilab run scenarios/xavier_relu.toml": "finished",
    "tuilab": "Weight initialization",
    "tuilab compare xavier_relu he_relu": "he_relu",
}
"""Commands that are run in a real terminal, and what it must show."""
EXTRA_OF: Final = {"search": "optuna", "serve": "textual_serve", "tensorboard": "tensorboardX"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with small scenarios and the runs that the pages name."""
    folder = tmp_path_factory.mktemp("documentation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CONFIG, str(folder / "config" / "settings.json"))
        patch.setenv("XDG_DATA_HOME", str(folder / "share"))
        for variable in ("TUILAB_DATA", "NO_COLOR", "TUILAB_THEME", "TUILAB_GLYPHS"):
            patch.delenv(variable, raising=False)
        write_small_scenarios(folder)
        for name in ("he_relu", "xavier_relu"):
            assert call("run", name, "--headless", "--out", f"runs/{name}") in (0, 1)
        yield folder
    kill_workers(folder)


@pytest.fixture(scope="module")
def run_before() -> set[tuple[str, ...]]:
    """Commands that have been run already: each is run once, though several pages show it."""
    return set()


def call(*words: str) -> int:
    """Run a command of tuilab in this process and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize("page", PAGES)
def test_commands(
    page: str, lab: Path, run_before: set[tuple[str, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    for shown in commands(page):
        if str(shown) in NOT_RUN:
            continue
        if shown.words[:5] == ("python3", "-m", "pip", "install", "-e"):
            check_extras(shown.words[5])
            continue
        assert shown.words[0] == "tuilab", f"{page}: nothing is known of '{shown}'"
        arguments = without_terminal(shown.words[1:])
        extras_are_here = all(find_spec(EXTRA_OF[word]) for word in arguments if word in EXTRA_OF)
        if arguments not in run_before and extras_are_here:
            run_before.add(arguments)
            check_command(page, shown, arguments, capfd)


def check_extras(target: str) -> None:
    for extra in re.findall(r"[a-z0-9]+", target.removeprefix(".")):
        assert extra in PROJECT["optional-dependencies"], f"there is no extra {extra}"


def without_terminal(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command as it can be run here: without a view, and with few scenarios."""
    if not words:
        return ("tour",)
    if words[0] == "test":
        return tuple(FEW if word == "scenarios/" else word for word in words)
    if words[0] == "serve":
        return (*words, "--help")
    trains = words[0] == "run" or (words[0] == "search" and words[1] not in ("show", "view"))
    return (*words, "--headless") if trains and "--headless" not in words else words


def check_command(
    page: str, shown: Command, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    accepted = {0}
    if arguments[0] in ("run", "test"):
        accepted = {0, 1}  # so small and short a network need not do what its scenario claims
    elif arguments[0] in INTERACTIVE and not {"--verify", "--list"} & {*arguments}:
        accepted = {2}
    capfd.readouterr()
    code = call(*arguments)
    out, err = capfd.readouterr()
    assert code in accepted, f"{page}: '{shown}' exits with {code}: {err}"
    assert "Traceback" not in err
    if accepted == {2}:
        assert "needs a terminal" in err, f"{page}: '{shown}': {err}"
    if shown.to:
        Path(shown.to).write_text(out, encoding="utf-8")


def test_no_command_is_left_out_that_no_page_shows() -> None:
    shown = {str(each) for page in PAGES for each in commands(page)}
    assert set(NOT_RUN) | set(VIEWED) <= shown


@pytest.mark.parametrize("shown", VIEWED)
def test_commands_in_a_terminal(shown: str, lab: Path) -> None:
    terminal = Terminal(command(*shown.split()[1:]), lab, more={CONFIG: os.environ[CONFIG]})
    try:
        wait_for(lambda: terminal.shows(VIEWED[shown]))
        terminal.press("q")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python(page: str, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    for block in blocks(page, "python"):
        if "import pandas" in block:
            pytest.importorskip("pandas")
        exec(compile(block, page, "exec"), scope)
        if "accuracy" in scope:
            assert scope["accuracy"] > 0.9
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sql")])
def test_sql(page: str, lab: Path) -> None:
    connection = sqlite3.connect(lab / "runs" / "he_relu" / "run.db")
    for block in blocks(page, "sql"):
        for statement in filter(str.strip, block.split(";")):
            assert connection.execute(statement).fetchall(), f"{page}: no rows from {statement}"
    connection.close()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_scenarios(page: str, tmp_path: Path) -> None:
    whole = tomllib.loads(blocks("docs/scenarios.md", "toml")[0])
    path = tmp_path / "shown.toml"
    for block in blocks(page, "toml"):
        part = tomllib.loads(block)
        table = {key: value for key, value in whole.items() if key != "expect"} | part
        if "data" in part:
            table["data"] = whole["data"] | part["data"]
        if "layer" in part:
            del table["network"]
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        file = load_file(path)
        assert len(file.runs) == max(len(part.get("variant", ())), 1)


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    folder = (ROOT / page).parent
    generated = {*hooks.FROM_ROOT, "pictures/screen.png"}
    generated |= {f"pictures/{picture.name}.svg" for picture in pictures.PICTURES}
    for target in re.findall(r"\]\((?!https?:)([^)#]*)[^)]*\)", PAGES[page]):
        local = os.path.normpath(target).removeprefix("../")
        assert not target or (folder / target).exists() or local in generated, target


@pytest.mark.parametrize("page", PAGES)
def test_every_key_in_a_table_is_one(page: str) -> None:
    shown = {part for action in ACTIONS for part in re.split(", | ", action.shown)}
    shown |= {key.strip() for key, _ in help_lines()}
    for rows in tables(page, "key"):
        assert {key for row in rows for key in re.findall(r"`([^`]+)`", row)} <= shown


def test_the_views_of_a_layer_are_described() -> None:
    assert [f"`{view.key}`" for view in VIEWS] in tables("docs/screen.md", "key")


def test_every_rule_is_listed() -> None:
    (listed,) = tables("docs/diagnosis.md", "rule")
    assert set(re.findall(r"`(\w+)`", " ".join(listed))) == set(rules)


# The generated reference


def test_every_table_is_used_and_filled() -> None:
    filled = {name for text in PAGES.values() for name in reference.MARKER.findall(text)}
    assert filled == set(reference.TABLES)
    page = reference.fill(PAGES["docs/reference/members.md"])
    for registry in reference.FAMILIES.values():
        for name in registry:
            assert f"### `{name}`\n\n" in page


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="spells"):
        reference.fill("<!-- generated: spells -->")


def test_the_page_of_metrics_is_complete() -> None:
    page = PAGES["docs/reference/metrics.md"]
    reference.check_metrics(page)
    with pytest.raises(ValueError, match="one_signed"):
        reference.check_metrics(page.replace("one_signed", "two_signed"))


def test_settings_have_the_comments_of_their_code() -> None:
    expect = reference.scenario_keys().partition("### `[train]`")[2].partition("###")[0]
    assert "| `snapshots` | list of integer ≥ 0 |  | Steps whose statistics" in expect
    members = reference.fill(PAGES["docs/reference/members.md"])
    assert '| `start` | `"normalized"` or `"identity"` | `"normalized"` |' in members


def test_commands_are_described_with_their_options() -> None:
    text = reference.commands()
    assert "## `tuilab search show`" in text
    assert "| `--headless` | " in text
    assert "\b" not in text


def test_links_from_the_top_of_the_repository_fit_the_site() -> None:
    text = hooks.local_links("[a](docs/search.md) [b](scenarios/x.toml) [c](https://d.e) [f](#g)")
    assert text == "[a](search.md) b [c](https://d.e) [f](#g)"


def test_a_picture_is_drawn(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "BUILD", lab / "pictures")
    run = pictures.BUILD / "runs" / f"he_relu-{pictures.FEW}"
    run.mkdir(parents=True)
    (run / "he_relu").symlink_to(lab / "runs" / "he_relu")
    picture = next(each for each in pictures.PICTURES if each.name == "he_relu_layers")
    pictures.draw(picture, lab / "layers.svg")
    svg = (lab / "layers.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "Layers" not in svg or "relu" in re.sub(r"<[^>]+>", "", svg)
