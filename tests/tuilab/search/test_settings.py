"""[search] of a scenario file: what it may say, and how a point becomes a scenario."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from engine.errors import ConfigError
from engine.optimization.optimizers import SGD
from tests.tuilab.support import small, write_scenario
from tuilab.errors import ScenarioError
from tuilab.process.launch import Options
from tuilab.scenario.loading import load
from tuilab.scenario.parsing import parse
from tuilab.scenario.scenario import Scenario
from tuilab.scenario.search.settings import Search
from tuilab.search.launch import new_folder
from tuilab.search.points import check_space, is_allowed, scenario_at

SPACE = {"optimizer.learning_rate": {"log": [1e-4, 1e-1]}}


def scenario(search: dict[str, Any] | None = None, **sections: Any) -> Scenario:
    return parse(small(search={"space": SPACE} | (search or {}), **sections), "small")


def searched(**search: Any) -> Search:
    found = scenario(search).search
    assert found is not None
    return found


def test_without_stages_there_is_one() -> None:
    found = searched(trials=7, epochs=3, sampler="tpe")
    (stage,) = found.stages
    assert (stage.name, stage.trials, stage.train) == ("search", 7, {"epochs": 3})
    assert found.maximize
    assert found.objective == "accuracy.validation"


def test_a_stage_says_what_differs() -> None:
    found = searched(
        trials=10,
        epochs=2,
        stage=[
            {"name": "coarse"},
            {"steps": 50, "best": 2, "space": {"optimizer.learning_rate": [0.01, 0.1]}},
        ],
    )
    coarse, second = found.stages
    assert (coarse.train, second.train) == ({"epochs": 2}, {"steps": 50})
    assert (coarse.best, second.best, second.name) == (3, 2, "stage2")
    assert coarse.space.table == {"optimizer.learning_rate": {"log": [1e-4, 1e-1]}}
    assert second.space.table == {"optimizer.learning_rate": {"log": [0.01, 0.1]}}


def test_the_direction_follows_from_the_objective() -> None:
    assert not searched(objective="loss").maximize
    assert not searched(objective="steps_to_loss(0.5)").maximize
    assert searched(objective="loss", direction="maximize").maximize


@pytest.mark.parametrize(
    ("search", "path", "words"),
    [
        ({"objective": "los"}, "search.objective", "did you mean 'loss'"),
        ({"objective": "status"}, "search.objective", "not a single number"),
        ({"objective": "layers[*].update_ratio"}, "search.objective", "not a single number"),
        ({"sampler": "rnd"}, "search.sampler", "did you mean 'random'"),
        ({"sampler": {"name": "grid", "points": 0}}, "search.sampler.points", "at least 1"),
        ({"pruner": "medium"}, "search.pruner", "did you mean 'median'"),
        ({"stop": ["loss_ratio(0.5)"]}, "search.stop[0].limit", "above 1"),
        ({"trials": 0}, "search.trials", ">= 1"),
        ({"trails": 5}, "search.trails", "did you mean 'trials'"),
        ({"epochs": 1, "steps": 1}, "search", "either epochs or steps"),
        ({"sampler": "rnd", "stage": [{}]}, "search.sampler", "did you mean 'random'"),
        ({"pruner": "medium", "stage": [{}]}, "search.pruner", "did you mean 'median'"),
        ({"epochs": 1, "steps": 1, "stage": [{}]}, "search", "either epochs or steps"),
        ({"stage": [{"sampler": "rnd"}]}, "search.stage[0].sampler", "did you mean 'random'"),
        ({"space": {}}, "search", r"\[search.space\]"),
        ({"stage": [{"name": "a"}, {"name": "a"}]}, "search.stage[1].name", "two stages"),
        ({"stage": [{"space": {"seed": [1, 2]}}]}, "search.stage[0].space.seed", "unknown key"),
    ],
)
def test_what_cannot_be_searched_is_refused(search: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        scenario(search)
    assert error.value.path == path


def test_a_file_that_compares_is_not_searched(tmp_path: Path) -> None:
    path = write_scenario(
        tmp_path / "x.toml", small(search={"space": SPACE}, variant=[{"name": "a"}])
    )
    with pytest.raises(ScenarioError, match="cannot be combined"):
        load(path)


def test_a_point_changes_the_scenario_as_set_does() -> None:
    base = scenario()
    point = {
        "optimizer.name": "adam",  # which has no momentum: the file's own goes
        "optimizer.learning_rate": 0.02,
        "network.hidden": {"depth": 3, "width": 5},
        "network.activation": "tanh",
    }
    found = scenario_at(base, point, {"epochs": 2})
    assert found.table["optimizer"] == {"name": "adam", "learning_rate": 0.02}
    assert found.hidden == (5, 5, 5)
    assert found.train.epochs == 2
    assert found.train.steps is None
    assert found.search is None
    assert base.table["optimizer"]["name"] == "sgd"


def test_a_point_reaches_into_a_list() -> None:
    base = scenario()
    assert scenario_at(base, {"network.hidden[1]": 17}, {}).hidden == (8, 17)


def test_each_end_of_a_range_is_tried_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"does not accept 1\.5 here") as error:
        base = scenario({"space": {"optimizer.momentum": [0.5, 1.5]}})
        assert base.search is not None
        check_space(base, base.search)
    assert error.value.path == "search.space.optimizer.momentum"


def test_it_is_known_what_the_scenario_would_refuse() -> None:
    base = scenario()
    assert base.search is not None
    assert is_allowed(base, base.search, "optimizer.learning_rate", 10.0)
    assert not is_allowed(base, base.search, "optimizer.learning_rate", -1.0)


def test_the_example_in_the_docs_can_be_searched(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/search.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(\[search\]\n.*?)```", text, re.DOTALL)
    path = tmp_path / "x.toml"
    path.write_text(tomli_w.dumps(small()) + example, encoding="utf-8")
    base = load(path)
    assert base.search is not None
    check_space(base, base.search)
    assert [stage.name for stage in base.search.stages] == ["coarse", "fine"]


def test_a_wrong_key_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "x.toml")
    with path.open("a") as file:
        file.write('[search.space]\n"optimizer.learning_rat" = { log = [1e-3, 1.0] }\n')
    with pytest.raises(ScenarioError, match=r"x\.toml:\d+: search\.space.*did you mean") as error:
        new_folder(load(path), tmp_path / "s", "", Options())
    line = int(str(error.value).split(":")[1])
    assert "learning_rat" in path.read_text().splitlines()[line - 1]
    assert not (tmp_path / "s").exists()


def test_the_default_optimizer_is_searched_without_a_table() -> None:
    table = {key: value for key, value in small().items() if key != "optimizer"}
    base = parse(table | {"search": {"space": SPACE}}, "small")
    assert scenario_at(base, {"optimizer.learning_rate": 0.25}, {}).optimizer == SGD(0.25)
