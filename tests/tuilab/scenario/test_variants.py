"""`[[variant]]` tables: what each run of a comparison becomes, and what is said of wrong ones."""

from pathlib import Path
from typing import Any

import pytest

from engine.data.sources.digits import Digits
from engine.initializers import Normal
from engine.layers.batch_norm import BatchNorm
from engine.optimization.optimizers import SGD, Adam
from tests.tuilab.support import small, write_scenario
from tuilab.errors import ScenarioError
from tuilab.scenario.loading import load, load_file
from tuilab.scenario.overrides import merge
from tuilab.scenario.scenario import Scenario, ScenarioFile

NORMAL: Any = {"network": {"initializer": {"name": "normal", "std": 0.1}}}
A, B = {"name": "a"}, {"name": "b"}


def read(lab: Path, *variants: dict[str, Any], sets: tuple[str, ...] = (), **more: Any) -> Any:
    path = write_scenario(lab / "file.toml", small(**more) | {"variant": list(variants)})
    return load_file(path, sets)


def one(lab: Path, change: dict[str, Any], sets: tuple[str, ...] = (), **more: Any) -> Scenario:
    """The run of a variant that makes `change` in a small scenario."""
    file: ScenarioFile = read(lab, A | change, B, sets=sets, **more)
    return file.runs["a"]


def refused(lab: Path, text: str, sets: tuple[str, ...] = ()) -> str:
    path = lab / "file.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_file(path, sets)
    return str(caught.value)


class TestMerging:
    def test_a_variant_changes_what_it_says_and_nothing_else(self, lab: Path) -> None:
        file = read(lab, A, B | {"optimizer": {"learning_rate": 1e-6}, "seed": 7})
        assert list(file.runs) == ["a", "b"]
        assert file.runs["a"].optimizer == SGD(0.05, momentum=0.9)
        assert file.runs["b"].optimizer == SGD(1e-6, momentum=0.9)
        assert [run.seed for run in file.runs.values()] == [1, 7]
        assert [run.variant for run in file.runs.values()] == ["a", "b"]
        assert {run.name for run in file.runs.values()} == {"file"}

    def test_dotted_keys_and_sub_tables_are_the_same(self, lab: Path) -> None:
        text = (write_scenario(lab / "base.toml")).read_text()
        written = [
            '[[variant]]\nname = "a"\nnetwork.activation = "tanh"\nnetwork.hidden = [4]\n',
            '[[variant]]\nname = "a"\n[variant.network]\nactivation = "tanh"\nhidden = [4]\n',
            '[[variant]]\nname = "a"\nnetwork = { activation = "tanh", hidden = [4] }\n',
        ]
        tables = []
        for each in written:
            (lab / "file.toml").write_text(text + each)
            tables.append(load(lab / "file.toml", variant="a").table)
        assert tables[0] == tables[1] == tables[2]
        assert tables[0]["network"] == {"activation": "tanh", "hidden": [4], "initializer": "he"}

    def test_settings_of_the_old_member_go_with_its_name(self, lab: Path) -> None:
        assert one(lab, {"optimizer": {"name": "adam"}}).optimizer == Adam(0.05)
        assert one(lab, {"optimizer": {"name": "sgd"}}).optimizer == SGD(0.05, momentum=0.9)
        found = one(lab, {"network": {"initializer": {"name": "he"}}}, **NORMAL)
        assert found.initializer_text == "he"

    def test_the_source_of_the_data_is_changed_alike(self, lab: Path) -> None:
        found = one(lab, {"data": {"source": "digits"}}, data={"preprocess": ["zero_mean"]})
        assert isinstance(found.source, Digits)
        assert (found.data.batch_size, found.data.preprocess) == (12, ("zero_mean",))

    def test_what_belongs_to_neither_is_a_mistake_as_ever(self, lab: Path) -> None:
        with pytest.raises(ScenarioError, match="did you mean 'momentum'"):
            one(lab, {"optimizer": {"name": "nesterov"}}, optimizer={"momentun": 0.5})

    @pytest.mark.parametrize("old", ["normal", "normal(0.5)", {"name": "normal", "std": 0.5}])
    def test_settings_can_be_added_to_a_name(self, lab: Path, old: Any) -> None:
        change = {"network": {"initializer": {"std": 0.1}}}
        found = one(lab, change, network={"initializer": old})
        assert found.initializer == Normal(0.1)

    def test_a_name_replaces_a_table(self, lab: Path) -> None:
        found = one(lab, {"network": {"initializer": "he"}}, **NORMAL)
        assert found.initializer_text == "he"

    @pytest.mark.parametrize(
        ("change", "train"),
        [({"steps": 5}, {"steps": 5}), ({"epochs": 2}, {"epochs": 2}), ({}, {"steps": 12})],
    )
    def test_steps_take_the_place_of_epochs_and_back(
        self, lab: Path, change: Any, train: Any
    ) -> None:
        assert one(lab, {"train": change}).table["train"] == train

    def test_layer_tables_take_the_place_of_hidden_and_back(self, lab: Path) -> None:
        layers = [{"name": "linear", "units": 5}, {"name": "tanh"}]
        file = read(lab, A | {"layer": layers}, B)
        assert (len(file.runs["a"].layers), file.runs["a"].hidden) == (2, ())
        table = small() | {"layer": layers, "network": {"initializer": "he"}}
        merged = merge(table, {"network": {"hidden": [3], "activation": "relu"}})
        assert "layer" not in merged
        assert merged["network"] == {"hidden": [3], "activation": "relu", "initializer": "he"}

    def test_lists_are_replaced(self, lab: Path) -> None:
        found = one(
            lab, {"data": {"preprocess": ["normalize"]}}, data={"preprocess": ["zero_mean"]}
        )
        assert found.data.preprocess == ("normalize",)

    def test_batch_norm_may_have_settings(self, lab: Path) -> None:
        found = one(lab, {"network": {"batch_norm": {"start": "identity"}}})
        assert found.batch_norm == BatchNorm(start="identity")
        assert found.normalized is False
        assert one(lab, {"network": {"batch_norm": {"momentum": 0.5}}}).normalized is True

    def test_the_file_is_left_as_it_is(self) -> None:
        table = small()
        merge(table, {"network": {"hidden": [3]}, "data": {"source": "digits"}})
        assert table == small()


class TestSets:
    def test_they_hold_for_every_variant_whatever_it_says(self, lab: Path) -> None:
        file = read(
            lab, A, B | {"seed": 5, "train": {"epochs": 9}}, sets=("seed=3", "train.steps=2")
        )
        assert [(run.seed, run.train.steps) for run in file.runs.values()] == [(3, 2), (3, 2)]

    def test_one_can_be_meant(self, lab: Path) -> None:
        sets = ("variant[1].seed=3", "expect[0].below=7")
        file = read(lab, A, B, sets=sets, expect=[{"metric": "loss", "below": 1}])
        assert [run.seed for run in file.runs.values()] == [1, 3]
        assert [run.expect[0].below for run in file.runs.values()] == [7, 7]

    def test_a_wrong_one_is_named(self, lab: Path) -> None:
        with pytest.raises(ScenarioError, match=r"with --set network\.activation=rlu: network\."):
            read(lab, A, B, sets=("network.activation=rlu",))
        with pytest.raises(ScenarioError, match=r"with --set network\.activation=rlu: network\."):
            tanh = {"network": {"activation": "tanh"}}
            read(lab, A | tanh, B, sets=("network.activation=rlu",))


class TestExpectations:
    def test_each_run_has_its_own_and_the_file_those_over_several(self, lab: Path) -> None:
        expect = [
            {"metric": "variants.a.loss - variants.b.loss", "above": 0},
            {"metric": "loss", "at": 3, "below": 1},
        ]
        file = read(lab, A, B, expect=expect)
        assert [e.metric for e in file.expect] == ["variants.a.loss - variants.b.loss"]
        for run in file.runs.values():
            assert [e.metric for e in run.expect] == ["loss"]
            assert "variant" not in run.table
            assert run.snapshot_steps == {3}

    def test_a_run_records_the_steps_that_those_over_several_ask_for(self, lab: Path) -> None:
        metric = "variants.a.gain.forward@4 - variants.b.gain.forward"
        file = read(lab, A, B, expect=[{"metric": metric, "at": 6, "above": 0}])
        assert {n: run.snapshot_steps for n, run in file.runs.items()} == {"a": {4}, "b": {6}}
        again = load(write_scenario(lab / "again.toml", file.runs["a"].table))
        assert again.snapshot_steps == {4}

    def test_a_layer_must_be_in_the_network_of_every_variant(self, lab: Path) -> None:
        fits, lacks = ({"metric": f"layers[{k}].weight.std", "below": 1} for k in (2, 3))
        deep = A | {"network": {"hidden": [3, 3]}}
        with pytest.raises(ScenarioError, match=r"expect\[1\]\.metric: there is no layer 3"):
            read(lab, deep, B | {"network": {"hidden": [3]}}, expect=[fits, lacks])
        assert read(lab, deep, B, expect=[fits])


BASE = """\
[data]
source = "gaussian"
[network]
hidden = [8]
[train]
steps = 5
"""


class TestErrors:
    @pytest.mark.parametrize(
        ("variants", "line", "words"),
        [
            ('[[variant]]\nname = "a"\noptimzer.name = "adam"', 9,
             ["variant[0].optimzer", "did you mean 'optimizer'?"]),
            ('[[variant]]\nname = "a"\n[[variant]]\nname = "b"\noptimizer.name = "adam"\n'
             'optimizer.epsilo = 0.5', 12, ["variant[1].optimizer.epsilo", "mean 'epsilon'?"]),
            ('[[variant]]\nname = "a"\n\n[variant.network]\nactivation = "rlu"', 11,
             ["variant[0].network.activation", "did you mean 'relu'?"]),
            ('[[variant]]\nname = "a"\n[[variant]]\nname = "b"\n[variant.network]\nhiden = [3]', 12,
             ["variant[1].network.hiden", "did you mean 'hidden'?"]),
            ('[[variant]]\nname = "a"\n[[variant.layer]]\nname = "linear"\nunits = 3\n'
             '[[variant.layer]]\nname = "rlu"', 13, ["variant[0].layer[1].name", "'relu'?"]),
            ('[[variant]]\nname = "a"\n[variant.network]\nbatch_norm = { strt = "identity" }', 10,
             ["variant[0].network.batch_norm.strt", "did you mean 'start'?"]),
            ('[[variant]]\nname = "a"\nnetwork.batch_norm.start = "identiy"', 9,
             ["network.batch_norm.start", "did you mean 'identity'?"]),
            ('[[variant]]\nseed = 3', 7, ["variant[0]: a variant needs a name"]),
            ('[[variant]]\nname = "a-b"', 8, ["variant[0].name", "letters, digits and _"]),
            ('[[variant]]\nname = 3', 8, ["variant[0].name", "got 3"]),
            ('[[variant]]\nname = "a"\n[[variant]]\nname = "a"', 10, ["two variants 'a'"]),
            ('[[variant]]\nname = "a"\n[[variant.expect]]\nmetric = "loss"', 9,
             ["variant[0].expect", "variants.a.METRIC"]),
            ('[variant]\nname = "a"', 7, ["variant: write each variant as a table [[variant]]"]),
            ('[[variant]]\nname = "a"\n[[expect]]\nmetric = "variants.b.loss"\nabove = 1', 10,
             ["expect[0].metric", "unknown variant 'b'", "allowed: a"]),
            ('[[variant]]\nname = "a"\n[[expect]]\nmetric = "variants.a.loss"\nabove = 1\n'
             '[[expect]]\nmetric = "los"\nabove = 1', 13, ["expect[1].metric", "'loss'?"]),
            ('[[variant]]\nname = "a"\n[data]\n', 0, ["not valid TOML"]),
            ('[[variant]]\nname = "a"\ntrain.steps = 3\ntrain.epochs = 3', None,
             ["either 'epochs' or 'steps'"]),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_with_file_line_and_key(
        self, lab: Path, variants: str, line: int | None, words: list[str]
    ) -> None:
        said = refused(lab, BASE + variants)
        for word in words:
            assert word in said
        if line:
            assert said.startswith(f"{lab / 'file.toml'}:{line}: "), said

    def test_what_is_wrong_in_the_rest_of_the_file_is_said_there(self, lab: Path) -> None:
        text = BASE.replace("gaussian", "gausian") + '[[variant]]\nname = "a"\nseed = 3\n'
        assert refused(lab, text).startswith(f"{lab / 'file.toml'}:2: data.source: unknown")

    def test_a_key_of_the_file_that_is_none_is_named(self, lab: Path) -> None:
        said = refused(lab, "sede = 3\n" + BASE + '[[variant]]\nname = "a"\n')
        assert "did you mean 'seed'?" in said

    def test_one_run_must_be_chosen_where_one_is_wanted(self, lab: Path) -> None:
        read(lab, A, B)
        path = lab / "file.toml"
        with pytest.raises(ScenarioError, match=r"choose one: --variant NAME \(a, b\)"):
            load(path)
        with pytest.raises(ScenarioError, match="unknown variant 'aa'; did you mean 'a'"):
            load(path, variant="aa")
        with pytest.raises(ScenarioError, match="has no variants, so there is no 'a'"):
            load(write_scenario(path), variant="a")
        assert load(path).variant == ""
