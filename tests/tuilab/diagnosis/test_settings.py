"""`[diagnosis]`: what it means, and what is said where it means nothing."""

from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from tests.tuilab.support import small, write_scenario
from tuilab.diagnosis.base import rules
from tuilab.diagnosis.rules.dead_units import DeadUnits
from tuilab.diagnosis.rules.saturation import Saturation
from tuilab.diagnosis.settings import LOOKS, PATIENCE, parse, spread
from tuilab.errors import ScenarioError
from tuilab.scenario.loading import load


def test_without_a_word_every_rule_looks_with_its_defaults() -> None:
    found = parse({})
    assert found.patience == PATIENCE
    assert set(found.rules) == set(rules)
    assert all(rule == rules[name]() for name, rule in found.rules.items())


def test_thresholds_by_name_or_the_first_alone() -> None:
    table = {"saturation": 0.7, "dead_units": {"error": 0.6}, "patience": 5, "overfitting": True}
    found = parse(table)
    assert found.rules["saturation"] == Saturation(0.7)
    assert found.rules["dead_units"] == DeadUnits(error=0.6)
    assert found.patience == 5
    assert set(found.rules) == set(rules)


def test_a_rule_or_all_of_them_can_be_switched_off() -> None:
    assert set(rules) - set(parse({"dead_units": False}).rules) == {"dead_units"}
    assert not parse({"enabled": False}).rules


@pytest.mark.parametrize(
    ("table", "path", "words"),
    [
        ({"saturatoin": 0.5}, "saturatoin", "did you mean 'saturation'?"),
        ({"dead_units": {"warnin": 0.5}}, "dead_units.warnin", "did you mean 'warning'?"),
        ({"dead_units": {"warning": "much"}}, "dead_units.warning", "much"),
        ({"saturation": "much"}, "saturation", "a number (share)"),
        ({"saturation": 0.0}, "saturation.share", "must be positive, is 0.0"),
        ({"saturation": {"share": float("nan")}}, "saturation.share", "must be positive, is nan"),
        ({"not_finite": 3}, "not_finite", "must be true or false, is 3"),
        ({"patience": 0}, "patience", ">= 1, got 0"),
        ({"patience": 1.5}, "patience", "'int', got 1.5"),
        ({"enabled": "no"}, "enabled", "'bool', got 'no'"),
        (7, "", "must be a table, is 7"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(table: Any, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(table)
    assert refused.value.path == f"diagnosis.{path}".rstrip(".")
    assert words in str(refused.value)


def test_a_scenario_file_names_the_line(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "small.toml", small(diagnosis={"saturatoin": 0.5}))
    with pytest.raises(ScenarioError, match=r"small.toml:\d+: diagnosis.saturatoin: unknown key"):
        load(path)


def test_it_is_in_the_resolved_scenario_where_it_was_set_and_only_there(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "small.toml")
    assert "diagnosis" not in load(path).to_toml()
    resolved = load(path, ["diagnosis.saturation=0.7"]).to_toml()
    assert "[diagnosis]\nsaturation = 0.7" in resolved


def test_the_statistics_asked_for_are_spread_over_a_run() -> None:
    assert spread(1600) == set(range(0, 1600, 100))
    assert len(spread(LOOKS - 1)) == LOOKS - 1
