"""The JSON Schema of scenario files says what the reader of scenario files says."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.activations import activations
from engine.data.dataset import sources
from engine.initializers import initializers
from engine.layers.base import layers
from engine.losses import losses
from engine.optimization.optimizers import optimizers
from engine.optimization.schedules import schedules
from tests.tuilab.conftest import Cli
from tests.tuilab.support import small
from tuilab.scenario.loading import load
from tuilab.scenario.schema import schema

SCENARIOS = Path(__file__).parents[3] / "scenarios"
FILES = sorted(SCENARIOS.rglob("*.toml"))


def wrong(table: dict[str, Any]) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema()).iter_errors(table)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_scenario_fits(path: Path) -> None:
    assert wrong(tomllib.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("section", "family"),
    [("optimizer", optimizers), ("schedule", schedules), ("loss", losses)],
)
def test_every_member_of_a_family_fits(section: str, family: Any) -> None:
    for name in family:
        assert wrong(small() | {section: {"name": name}}) == []
        assert wrong(small() | {section: {"name": name, "typo": 1}})


def test_every_initializer_activation_and_layer_is_there() -> None:
    for name in initializers:
        assert wrong(small(network={"initializer": name})) == []
    for name in activations:
        assert wrong(small(network={"activation": name})) == []
    text = json.dumps(schema())
    assert all(f'"const": "{name}"' in text for name in (*layers, *sources))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"networks": {}}, "$"),
        ({"network": {"hiden": [3]}}, "$.network"),
        ({"network": {"activation": "rleu"}}, "$.network.activation"),
        ({"data": {"source": "gausian"}}, "$.data"),
        ({"data": {"batch_size": 0}}, "$.data"),
        ({"train": {"steps": -3}}, "$.train.steps"),
        ({"seed": "one"}, "$.seed"),
        ({"expect": [{"claim": "nothing"}]}, "$.expect[0]"),
        ({"diagnosis": {"saturated": 0.5}}, "$.diagnosis"),
    ],
)
def test_what_the_reader_refuses_does_not_fit(change: dict[str, Any], place: str) -> None:
    assert any(found.startswith(place) for found in wrong(small(**change)))


def test_the_command_prints_it(cli: Cli) -> None:
    code, out, _ = cli("schema")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(schema()))


def test_a_new_scenario_runs_and_holds(cli: Cli, lab: Path) -> None:
    code, out, _ = cli("new", "my_own")
    assert code == 0
    assert "tuilab run my_own.toml" in out
    assert load(lab / "my_own.toml").header.title == "my own"
    assert wrong(tomllib.loads((lab / "my_own.toml").read_text(encoding="utf-8"))) == []
    code, out, err = cli("run", "my_own.toml", "--headless")
    assert code == 0, err
    assert "✗" not in out


def test_new_overwrites_nothing(cli: Cli, lab: Path) -> None:
    (lab / "mine.toml").write_text("precious")
    code, _, err = cli("new", "mine")
    assert code == 2
    assert "mine.toml already exists" in err
    assert (lab / "mine.toml").read_text() == "precious"
    code, _, err = cli("new", "nowhere/mine")
    assert code == 2
    assert "create the folder nowhere first" in err


@pytest.mark.parametrize("name", ["", ".toml", ".."])
def test_a_scenario_needs_a_name(cli: Cli, lab: Path, name: str) -> None:
    code, _, err = cli("new", name)
    assert code == 2
    assert "is not a valid file name" in err
    assert not list(lab.iterdir())
