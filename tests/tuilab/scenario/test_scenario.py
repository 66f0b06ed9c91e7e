"""Scenario files: what is read, and that everything wrong is said with file, line and key."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends import make_backend
from engine.errors import ConfigError, DataError, TuilabError
from tests.tuilab.support import small, write_scenario
from tuilab.errors import ScenarioError
from tuilab.scenario.building import build_trainer, load_data
from tuilab.scenario.loading import load
from tuilab.scenario.parsing import parse


def message(path: Path, table: dict[str, Any], *sets: str) -> str:
    """What is said of a scenario that cannot be used."""
    with pytest.raises(ScenarioError) as caught:
        load(write_scenario(path, table), sets)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sections", "key", "words"),
    [
        ({"sede": 3}, "sede", ["unknown key 'sede'", "did you mean 'seed'?"]),
        ({"seed": -1}, "seed", [">= 0", "got -1"]),
        ({"title": 3}, "title", ["'str'", "got 3"]),
        ({"data": {"sampels": 3}}, "data.sampels", ["mean 'samples'?", "batch_size"]),
        ({"data": {"source": "gausian"}}, "data.source", ["mean 'gaussian'?", "digits"]),
        ({"data": {"source": 5}}, "data.source", ["'str'", "got 5"]),
        ({"data": {"batch_size": 0}}, "data.batch_size", [">= 1", "'all'", "got 0"]),
        ({"data": {"batch_size": "al"}}, "data.batch_size", ["did you mean 'all'?"]),
        ({"data": {"validation": 1.5}}, "data.validation", ["< 1", "got 1.5"]),
        ({"data": {"samples": -4}}, "data.samples", ["at least 1, is -4"]),
        ({"data": {"preprocess": ["zero_maen"]}}, "data.preprocess[0]", ["mean 'zero_mean'?"]),
        ({"data": {"augment": ["horizontal_flop"]}}, "data.augment[0]", ["'horizontal_flip'?"]),
        ({"data": {"augment": [{"name": "random_crop", "pading": 3}]}}, "data.augment[0].pading",
         ["mean 'padding'?"]),
        ({"data": {"preprocess": "zero_mean"}}, "data.preprocess", ["array", "got 'zero_mean'"]),
        ({"network": {"hidden": 5}}, "network.hidden", ["got 5"]),
        ({"network": {"hidden": [5, -1]}}, "network.hidden[1]", [">= 1", "got -1"]),
        ({"network": {"hidden": {"depth": 2}}}, "network.hidden", ["lacks the key 'width'"]),
        (
            {"network": {"hidden": {"depth": 2, "width": -5}}},
            "network.hidden.width",
            [">= 1", "got -5"],
        ),
        (
            {"network": {"hidden": {"depth": 2, "width": 10**30}}},
            "network.hidden.width",
            ["<= 10000000", "got 1000"],
        ),
        (
            {"network": {"hidden": {"depth": 2, "width": 5, "widht": 5}}},
            "network.hidden.widht",
            ["did you mean 'width'?"],
        ),
        ({"network": {"activation": "rlu"}}, "network.activation", ["mean 'relu'?", "tanh"]),
        ({"network": {"initializer": {"name": "normal", "sdt": 1.0}}}, "network.initializer.sdt",
         ["mean 'std'?"]),
        ({"network": {"initializer": {"name": "normal", "std": -1}}}, "network.initializer.std",
         ["not be negative, is -1"]),
        ({"network": {"activation": {"name": "gelu", "approximate": "tan"}}},
         "network.activation.approximate", ["mean 'tanh'?", "none"]),
        ({"network": {"activation": {"name": "leaky_relu", "slope": 2}}},
         "network.activation.slope", ["in [0, 1], is 2"]),
        ({"network": {"activation": {"name": "maxout", "pieces": 1}}},
         "network.activation.pieces", ["at least 2, is 1"]),
        ({"network": {"activation": "preul"}}, "network.activation", ["mean 'prelu'?"]),
        ({"network": {"bias": float("inf")}}, "network.bias", ["finite, is inf"]),
        ({"network": {"batch_norm": "yes"}}, "network.batch_norm", ["'bool'", "got 'yes'"]),
        ({"optimizer": {"name": "sdg"}}, "optimizer", ["did you mean 'sgd'?"]),
        ({"optimizer": {"learning_rate": -1.0}}, "optimizer.learning_rate", ["negative, is -1"]),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate", ["is nan"]),
        ({"loss": {"name": "hinge_loss"}}, "loss", ["softmax_cross_entropy"]),
        ({"schedule": {"name": "cosin"}}, "schedule", ["did you mean 'cosine'?", "one_cycle"]),
        ({"schedule": {"name": "step", "evry": 5}}, "schedule.evry", ["mean 'every'?"]),
        ({"schedule": {"name": "step", "every": 0}}, "schedule.every", ["at least 1, is 0"]),
        ({"optimizer": {"name": "adm"}}, "optimizer", ["did you mean 'adam'?", "rmsprop"]),
        ({"optimizer": {"l1": -1.0}}, "optimizer.l1", ["must not be negative, is -1"]),
        ({"train": {"steps": 5, "epochs": 5}}, "train", ["either 'epochs' or 'steps'", "not both"]),
        ({"train": {"steps": 0}}, "train.steps", [">= 1", "got 0"]),
        ({"train": {"dtype": "float16"}}, "train.dtype", ["'float16'", "float32, float64"]),
        ({"expect": [{"metric": "los", "below": 1}]}, "expect[0].metric", ["mean 'loss'?"]),
        ({"expect": [{"metric": "loss"}]}, "expect[0]", ["exactly one of between"]),
        ({"expect": [{"metric": "loss", "below": 1}, {"metrc": "loss"}]}, "expect[1].metrc",
         ["did you mean 'metric'?"]),
        ({"expect": [{"metric": "loss", "below": "x"}]}, "expect[0].below", ["got 'x'"]),
        ({"expect": [{"metric": "loss", "below": 1, "at": "ende"}]}, "expect[0].at",
         ["did you mean 'end'?", "always"]),
        ({"expect": [{"metric": "loss", "below": 1, "at": -1}]}, "expect[0].at", [">= 0"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_said_with_file_line_key_and_what_is_allowed(
    lab: Path, sections: dict[str, Any], key: str, words: list[str]
) -> None:
    text = message(lab / "wrong.toml", small(**sections))
    place, _, said = text.partition(": ")
    assert place.startswith(f"{lab / 'wrong.toml'}:"), text
    assert said.startswith(f"{key}: "), text
    line = (lab / "wrong.toml").read_text().splitlines()[int(place.rpartition(":")[2]) - 1]
    part = key.replace("]", "").replace("[", ".").split(".")
    assert any(name in line for name in part if not name.isdigit()), line
    for word in words:
        assert word in said


@pytest.mark.parametrize("section", ["data", "network", "train"])
def test_a_missing_table_is_named(lab: Path, section: str) -> None:
    table = small()
    del table[section]
    assert f"{section}: the table [{section}] is missing" in message(lab / "s.toml", table)


@pytest.mark.parametrize("section", ["data", "network", "train"])
def test_a_value_in_place_of_a_table_is_named(lab: Path, section: str) -> None:
    table = small() | {section: 5}
    assert f"{section}: must be a table, is 5" in message(lab / "s.toml", table)


def test_text_that_is_no_toml_is_said_with_its_line(lab: Path) -> None:
    (lab / "s.toml").write_text("title = 'x'\nseed = = 3\n")
    with pytest.raises(ScenarioError, match=r"s\.toml: not valid TOML: .*line 2"):
        load(lab / "s.toml")


def test_a_mark_of_utf8_before_the_text_is_none_of_it(lab: Path) -> None:
    write_scenario(lab / "s.toml")
    (lab / "s.toml").write_bytes(b"\xef\xbb\xbf" + (lab / "s.toml").read_bytes())
    assert load(lab / "s.toml").name == "s"


def test_text_that_is_not_utf8_is_refused(lab: Path) -> None:
    (lab / "s.toml").write_bytes(b"title = '\xff'\n")
    with pytest.raises(ScenarioError, match=r"s\.toml: cannot be read: .*utf-8"):
        load(lab / "s.toml")


def test_text_that_nests_without_end_is_refused(lab: Path) -> None:
    (lab / "s.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(ScenarioError, match=r"s\.toml: "):
        load(lab / "s.toml")


def test_a_missing_file_is_said_with_the_nearest_and_what_is_there(lab: Path) -> None:
    write_scenario(lab / "dead_relu.toml")
    write_scenario(lab / "batch_norm.toml")
    with pytest.raises(ScenarioError) as caught:
        load(lab / "ded_relu.toml")
    assert f"did you mean {lab / 'dead_relu.toml'}?" in str(caught.value)
    assert "batch_norm.toml, dead_relu.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["", "missing/s.toml"])
def test_a_folder_and_a_file_in_no_folder_are_refused(lab: Path, name: str) -> None:
    with pytest.raises(ScenarioError):
        load(lab / name)


class TestDefaults:
    def test_what_is_not_given_is_as_documented(self, lab: Path) -> None:
        table = {
            "data": {"source": "gaussian"},
            "network": {"hidden": [4]},
            "train": {"epochs": 2},
        }
        made = load(write_scenario(lab / "least.toml", table))
        assert (made.name, made.header.title, made.seed) == ("least", "", 0)
        assert (made.data.batch_size, made.data.validation, made.preprocess) == (100, 0.2, ())
        assert (made.initializer_text, made.batch_norm, made.expect) == ("he", False, ())
        assert made.train.dtype == "float32"
        assert type(made.optimizer).__name__ == "SGD"
        assert type(made.loss).__name__ == "SoftmaxCrossEntropy"

    def test_depth_and_width_are_a_row_of_layers(self, lab: Path) -> None:
        table = small()
        table["network"]["hidden"] = {"depth": 3, "width": 7}
        assert load(write_scenario(lab / "s.toml", table)).hidden == (7, 7, 7)

    def test_settings_of_a_member_are_said_in_its_text(self, lab: Path) -> None:
        table = small(network={"initializer": {"name": "normal", "std": 0.01}})
        assert load(write_scenario(lab / "s.toml", table)).initializer_text == "normal 0.01"


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        ("prelu", "prelu"),
        ({"name": "prelu", "per_unit": True}, "prelu"),
        ({"name": "maxout", "pieces": 3}, "maxout"),
        ({"name": "leaky_relu", "slope": 0.1}, "leaky_relu"),
    ],
)
def test_every_activation_makes_a_network_of_the_units_asked_for(
    lab: Path, activation: Any, name: str
) -> None:
    made = load(write_scenario(lab / "s.toml", small(network={"activation": activation})))
    assert made.activation_name == name
    trainer = build_trainer(made, load_data(made, None), make_backend("numpy"))
    assert [(layer.activation, layer.units) for layer in trainer.layers[:-1]] == [
        (name, units) for units in made.hidden
    ]


class TestSets:
    def test_values_from_outside_are_used_and_written_to_the_resolved_file(self, lab: Path) -> None:
        path = write_scenario(lab / "s.toml")
        sets = ["seed=9", "network.activation=tanh", "optimizer.learning_rate=0.5"]
        made = load(path, [*sets, "network.hidden=[3, 4, 5]"])
        (lab / "resolved.toml").write_text(made.to_toml(), encoding="utf-8")
        for scenario in (made, load(lab / "resolved.toml")):
            assert scenario.seed == 9
            assert scenario.hidden == (3, 4, 5)
            assert type(scenario.activation).__name__ == "Tanh"
            assert scenario.optimizer.learning_rate == 0.5

    @pytest.mark.parametrize(
        ("before", "assignment", "after"),
        [
            ({"epochs": 5}, "train.steps=7", (None, 7)),
            ({"steps": 5}, "train.epochs=7", (7, None)),
            ({"steps": 5}, "train.steps=7", (None, 7)),
        ],
    )
    def test_steps_and_epochs_take_each_others_place(
        self, lab: Path, before: dict[str, Any], assignment: str, after: tuple[Any, Any]
    ) -> None:
        table = small() | {"train": before | {"dtype": "float64"}}
        train = load(write_scenario(lab / "s.toml", table), [assignment]).train
        assert (train.epochs, train.steps) == after
        assert train.dtype == "float64"

    @pytest.mark.parametrize(
        ("given", "momentum"),
        [
            ({}, 0.0),
            ({"optimizer": "sgd"}, 0.0),
            ({"optimizer": "nesterov(0.1)"}, 0.9),
            ({"optimizer": {"momentum": 0.5}}, 0.5),
        ],
    )
    def test_a_setting_of_the_optimizer_needs_no_table(
        self, lab: Path, given: dict[str, Any], momentum: float
    ) -> None:
        table = {key: value for key, value in small().items() if key != "optimizer"} | given
        made = load(write_scenario(lab / "s.toml", table), ["optimizer.learning_rate=0.5"])
        numbers = made.optimizer.hyperparameters()
        assert (numbers["learning_rate"], numbers["momentum"]) == (0.5, momentum)

    def test_a_wrong_one_is_blamed_and_not_a_line_of_the_file(self, lab: Path) -> None:
        text = message(lab / "s.toml", small(), "network.activation=rlu", "seed=3")
        place = f"{lab / 's.toml'} with --set network.activation=rlu: "
        assert text.startswith(place + "network.activation: unknown activation 'rlu'; did you")

    def test_a_wrong_key_of_an_inner_table_is_blamed(self, lab: Path) -> None:
        table = small(network={"hidden": {"depth": 2, "width": 5}})
        text = message(lab / "s.toml", table, "network.hidden.widht=5")
        assert "--set network.hidden.widht=5: network.hidden.widht: unknown key" in text
        assert "did you mean 'width'?" in text

    def test_the_line_is_given_where_the_file_is_wrong_all_the_same(self, lab: Path) -> None:
        text = message(lab / "s.toml", small(network={"activation": "rlu"}), "seed=3")
        assert text.startswith(f"{lab / 's.toml'}:")
        assert "--set" not in text


def test_a_resolved_scenario_says_the_same_again(lab: Path) -> None:
    table = small(
        title='ein „Titel“\nin "zwei" Zeilen',
        data={"preprocess": ["zero_mean", {"name": "scale", "factor": 0.5}]},
        network={"initializer": {"name": "normal", "std": 1e-30}},
        expect=[
            {"metric": "loss", "at": "always", "between": [0.0, float("inf")]},
            {"metric": "loss", "equals": float("nan")},
            {"metric": "status", "equals": "finished"},
        ],
    )
    first = load(write_scenario(lab / "s.toml", table))
    (lab / "again.toml").write_text(first.to_toml(), encoding="utf-8")
    second = load(lab / "again.toml")
    assert second.header == first.header
    assert second.preprocess == first.preprocess
    assert second.initializer == first.initializer
    assert str(second.expect) == str(first.expect)  # as text, for NaN is not itself
    assert second.to_toml() == first.to_toml()


class TestFilesOfTheUser:
    def csv(self, lab: Path, path: str) -> Path:
        (lab / "mine").mkdir()
        (lab / "mine" / "table.csv").write_text("a,b\n1,x\n2,y\n")
        table = small() | {"data": {"source": "csv", "path": path, "validation": 0.0}}
        return write_scenario(lab / "mine" / "s.toml", table)

    @pytest.mark.parametrize("path", ["table.csv", "./table.csv", "../mine/table.csv"])
    def test_a_path_is_that_of_a_file_beside_the_scenario(
        self, lab: Path, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scenario = load(self.csv(lab, path))
        (lab / "run").mkdir()
        resolved = lab / "run" / "scenario.toml"  # as a run keeps it, in another folder
        resolved.write_text(scenario.to_toml(), encoding="utf-8")
        monkeypatch.chdir(lab / "run")
        for again in (scenario, load(resolved)):
            assert load_data(again, None).name == "table.csv 2×1"

    def test_or_of_one_in_the_data_folder(self, lab: Path) -> None:
        scenario = load(self.csv(lab, "other.csv"))
        (lab / "data").mkdir()
        (lab / "data" / "other.csv").write_text("1,x\n2,y\n3,x\n")
        assert load_data(scenario, lab / "data").name == "other.csv 3×1"

    def test_a_missing_one_is_said_with_where_was_looked(self, lab: Path) -> None:
        scenario = load(self.csv(lab, "missing.csv"))
        with pytest.raises(DataError, match=r"neither beside the scenario file nor in .*data"):
            load_data(scenario, lab / "data")

    @pytest.mark.parametrize("path", [5, "x" * 5000, "\0", ""])
    def test_what_is_no_path_is_refused_and_never_fails(self, lab: Path, path: Any) -> None:
        (lab / "data").mkdir()
        table = small() | {"data": {"source": "csv", "path": path}}
        with pytest.raises(TuilabError):
            load_data(load(write_scenario(lab / "s.toml", table)), lab / "data")

    def test_a_label_that_is_no_column_is_said_with_its_key(self, lab: Path) -> None:
        scenario = load(self.csv(lab, "table.csv"), ["data.label=c"])
        with pytest.raises(ConfigError, match=r"data\.label: unknown column of .*allowed: a, b"):
            load_data(scenario, None)


class TestBuilding:
    def build(self, table: dict[str, Any], directory: Path | None = None) -> None:
        scenario = parse(table, "s")
        build_trainer(scenario, load_data(scenario, directory), make_backend("numpy"))

    def test_a_batch_larger_than_the_training_split_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.batch_size: must be 1 … 48 .*is 49"):
            self.build(small(data={"batch_size": 49}))

    def test_a_split_that_leaves_nothing_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.validation: .*leaves one split empty"):
            self.build(small(data={"samples": 3, "validation": 0.01, "batch_size": 1}))

    def test_a_network_too_large_for_memory_is_refused(self) -> None:
        table = small(network={"hidden": [10**7, 10**7]})
        with pytest.raises(ConfigError, match=r"network: does not fit into memory"):
            self.build(table)

    def test_data_too_large_for_memory_is_refused(self) -> None:
        table = small(data={"samples": 10**9, "features": 10**9})
        with pytest.raises(ConfigError, match=r"data: does not fit into memory"):
            self.build(table)

    def test_augmentation_needs_images_and_is_said_with_its_key(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.augment: needs images"):
            self.build(small(data={"augment": ["horizontal_flip"]}))
        digits: dict[str, Any] = {
            "source": "digits",
            "augment": ["horizontal_flip(0.5)", "random_crop(9)"],
        }
        with pytest.raises(
            ConfigError, match=r"data\.augment\[1\]\.padding: must be less than .*8"
        ):
            self.build(small() | {"data": digits})
        digits["augment"] = ["horizontal_flip", {"name": "random_crop", "padding": 1}]
        self.build(small() | {"data": digits})

    def test_batch_norm_over_one_example_is_refused(self) -> None:
        table = small(data={"batch_size": 1}, network={"batch_norm": True})
        with pytest.raises(TuilabError, match="batch_norm needs at least 2"):
            self.build(table)

    def test_a_schedule_that_wants_validation_is_refused_without(self) -> None:
        table = small(data={"validation": 0.0}, schedule={"name": "reduce_on_plateau"})
        with pytest.raises(ConfigError, match=r"^schedule: .*validation loss"):
            self.build(table)

    def test_cifar10_without_a_folder_says_how_to_get_it(self) -> None:
        with pytest.raises(DataError, match=r"--data-dir or TUILAB_DATA"):
            self.build(small() | {"data": {"source": "cifar10"}})


PLAIN = st.recursive(
    st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([10**18, 10**30, -(10**30)])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["relu", "all", "loss", "status", "layers[*].weight.std", "nan", "end"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                max_size=3),
    max_leaves=4,
)  # fmt: skip
FULL = small(
    loss={"name": "softmax_cross_entropy"},
    schedule={"name": "step", "every": 3, "factor": 0.5, "warm_up_steps": 2},
    expect=[{"claim": "c", "metric": "gain.forward", "at": "start", "between": [0.5, 2.0]}],
)
FULL["data"] |= {"validation": 0.2, "preprocess": ["zero_mean", {"name": "scale", "factor": 2.0}]}
FULL["network"] |= {"initializer": {"name": "normal", "std": 0.1}, "batch_norm": False}
FULL["network"]["hidden"] = {"depth": 2, "width": 4}
FULL["train"] |= {"dtype": "float32"}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a table of tables and lists."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [p for key, each in value.items() for p in paths(each, (*path, key))]
    elif isinstance(value, list):
        inner = [p for key, each in enumerate(value) for p in paths(each, (*path, key))]
    return [path, *inner]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(paths(FULL)[1:]), PLAIN, st.sampled_from(["put", "add", "drop"])),
        min_size=1,
        max_size=3,
    )
)
def test_a_valid_table_mutated_at_random_is_accepted_or_refused_and_never_fails(
    changes: list[tuple[tuple[Any, ...], Any, str]],
) -> None:
    table = copy.deepcopy(FULL)
    for path, value, kind in changes:
        parent: Any = table
        for key in path[:-1]:
            try:
                parent = parent[key]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if kind == "put" and isinstance(parent, dict):
                parent[path[-1]] = value
            elif kind == "add" and isinstance(parent, dict):
                parent["new"] = value
            elif kind == "drop" and isinstance(parent, dict):
                parent.pop(path[-1], None)
    try:
        parse(table, "mutated")
    except TuilabError as error:
        assert str(error)
