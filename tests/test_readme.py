"""What the README shows works."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from engine.optimization.optimizers import SGD, Adam
from tuilab.cli.main import tuilab
from tuilab.diagnosis.base import rules
from tuilab.scenario.loading import load_file
from tuilab.scenario.parsing import parse
from tuilab.viewer.actions import ACTIONS
from tuilab.viewer.panels.layer.views import VIEWS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_library_example_learns_to_read_digits(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(block for block in blocks("python") if "Trainer" in block)
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert scope["accuracy"] > 0.9
    assert capsys.readouterr().out.startswith("0 [")


def test_the_scenario_examples_are_valid(tmp_path: Path) -> None:
    whole, layered, compared = blocks("toml")
    table = tomllib.loads(whole)
    assert parse(table, "readme").hidden == (100, 50)
    (tmp_path / "compared.toml").write_text(f"{whole}\n{compared}")
    file = load_file(tmp_path / "compared.toml")
    assert [run.optimizer for run in file.runs.values()] == [
        SGD(0.05, momentum=0.9, weight_decay=1e-4),
        Adam(1e-3, weight_decay=1e-4),
    ]
    assert len(file.expect) == 1
    del table["network"]
    assert len(parse(table | tomllib.loads(layered), "readme").layers) == 3


def test_every_command_it_names_is_there() -> None:
    named = set(re.findall(r"^tuilab (\w+)", "\n".join(blocks("sh")), re.MULTILINE))
    assert named <= set(tuilab.commands)
    assert {"list", "attach", "show", "replay", "run", "test"} <= named


def test_every_key_it_names_is_one() -> None:
    keys = README.partition("## Keys")[2].partition("\n## ")[0]
    named = {key for row in re.findall(r"^\| (`.*?) \|", keys, re.MULTILINE) for key in row.split()}
    shown = {part.strip() for action in ACTIONS for part in re.split(", | ", action.shown)}
    assert {key.strip("`") for key in named} <= shown


def test_it_tells_of_every_view_of_a_layer() -> None:
    section = README.partition("## One layer alone")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(.)` \|", section, re.MULTILINE) == [view.key for view in VIEWS]


def test_the_engine_loads_neither_the_view_nor_a_gpu() -> None:
    code = "import sys, engine; print({'textual', 'cupy', 'sqlite3', 'msgspec'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_it_lists_every_rule_of_the_diagnosis() -> None:
    listed = README.split("## The diagnosis")[1].split("## ")[0]
    assert set(rules) <= set(re.findall(r"`(\w+)`", listed))
