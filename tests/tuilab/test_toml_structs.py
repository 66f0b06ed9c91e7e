"""TOML into structs: the messages, `--set`, and the place of a key in the file."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from engine.data.preprocessing import PCA, Scale, Whiten, ZeroMean, preprocessors
from engine.errors import ConfigError
from engine.optimization.optimizers import optimizers
from tuilab.scenario.overrides import override
from tuilab.toml_structs import check_keys, convert, find_line, member


class Inner(msgspec.Struct, frozen=True):
    depth: Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=1)] | Literal["all"] = 1
    dtype: Literal["float32", "float64"] = "float32"
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    sizes: tuple[int, ...] = ()
    inner: Inner | None = None
    on: bool = False


@pytest.mark.parametrize(
    ("table", "path", "words"),
    [
        ({"size": "al"}, "x.size", ["'al'", "did you mean 'all'?"]),
        ({"size": 0}, "x.size", [">= 1", "'all'", "got 0"]),
        ({"size": 2.5}, "x.size", ["'int", "got 2.5"]),
        ({"dtype": "float16"}, "x.dtype", ["'float16'", "float32, float64"]),
        ({"dtype": 32}, "x.dtype", ["'float32' or 'float64'", "got 32"]),
        ({"share": 1}, "x.share", ["< 1", "got 1"]),
        ({"share": -0.5}, "x.share", [">= 0", "got -0.5"]),
        ({"share": float("nan")}, "x.share", ["got nan"]),
        ({"sizes": [1, "b"]}, "x.sizes[1]", ["'int'", "got 'b'"]),
        ({"sizes": 3}, "x.sizes", ["array", "got 3"]),
        ({"inner": {"depth": -1}}, "x.inner.depth", [">= 1", "got -1"]),
        ({"inner": {}}, "x.inner", ["lacks the key 'depth'"]),
        ({"on": "yes"}, "x.on", ["'bool'", "got 'yes'"]),
        ({"on": 1}, "x.on", ["'bool'", "got 1"]),
        ({"sise": 1}, "x.sise", ["unknown key 'sise'", "did you mean 'size'?"]),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_path_and_what_is_allowed(
    table: dict[str, Any], path: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(table, Settings, "x")
    assert caught.value.path == path
    for word in words:
        assert word in str(caught.value)


def test_a_long_value_is_repeated_in_part() -> None:
    with pytest.raises(ConfigError) as caught:
        convert({"size": "x" * 10_000}, Settings, "")
    with pytest.raises(ConfigError) as other:
        convert({"on": list(range(10_000))}, Settings, "")
    assert len(str(other.value)) < 200
    assert "…" in str(other.value)
    assert caught.value.path == "size"


def test_good_values_become_the_struct() -> None:
    made: Settings = convert({"size": "all", "share": 0, "sizes": [1, 2]}, Settings, "")
    assert made == Settings("all", sizes=(1, 2))


def test_the_first_unknown_key_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"^a\.widht: unknown key 'widht'.*mean 'width'"):
        check_keys({"depth": 1, "widht": 2}, ["depth", "width"], "a", "key")


class TestMember:
    def test_a_bare_name_has_the_default_settings(self) -> None:
        assert member(optimizers, "sgd", "optimizer") == optimizers["sgd"]()

    def test_a_table_gives_settings(self) -> None:
        made = member(optimizers, {"name": "sgd", "momentum": 0.5}, "optimizer")
        assert made == optimizers.build("sgd", momentum=0.5)

    @pytest.mark.parametrize("value", [3, {}, {"name": 5}, [], True])
    def test_what_is_neither_is_refused(self, value: Any) -> None:
        with pytest.raises(ConfigError, match=r"optimizer: expected the name of an optimizer.*sgd"):
            member(optimizers, value, "optimizer")

    def test_an_unknown_setting_is_named_with_its_owner(self) -> None:
        with pytest.raises(ConfigError) as caught:
            member(optimizers, {"name": "sgd", "momentun": 0.5}, "optimizer")
        assert caught.value.path == "optimizer.momentun"
        assert "unknown sgd setting" in str(caught.value)
        assert "did you mean 'momentum'?" in str(caught.value)

    def test_a_setting_out_of_its_range_is_refused_by_the_member(self) -> None:
        with pytest.raises(ConfigError, match=r"optimizer\.momentum: must be in \[0, 1\), is 1"):
            member(optimizers, {"name": "sgd", "momentum": 1}, "optimizer")


class TestOverride:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("0.5", 0.5),
            ("true", True),
            ('"a b"', "a b"),
            ("relu", "relu"),
            (" relu ", "relu"),
            ("[1, 2]", [1, 2]),
            ("{ depth = 2 }", {"depth": 2}),
            ("a=b", "a=b"),
            ("", ""),
        ],
    )
    def test_the_value_is_toml_or_else_a_word(self, text: str, value: object) -> None:
        table: dict[str, Any] = {}
        override(table, f"key={text}")
        assert table == {"key": value}

    def test_a_nested_key_leaves_its_neighbours(self) -> None:
        table = {"network": {"hidden": {"depth": 3, "width": 5}, "activation": "relu"}}
        override(table, "network.hidden.width=7")
        hidden = {"depth": 3, "width": 7}
        assert table == {"network": {"hidden": hidden, "activation": "relu"}}

    def test_missing_tables_are_made(self) -> None:
        table: dict[str, Any] = {}
        override(table, "optimizer.name=sgd")
        assert table == {"optimizer": {"name": "sgd"}}

    def test_a_value_has_no_keys_inside(self) -> None:
        with pytest.raises(ConfigError) as caught:
            override({"network": {"hidden": [5, 5]}}, "network.hidden.width=7")
        assert caught.value.path == "network.hidden"
        assert "is [5, 5], not a table, so it has no key 'width'" in str(caught.value)

    def test_a_list_is_changed_in_place(self) -> None:
        table = {"expect": [{"below": 1}, {"below": 2}], "network": {"hidden": [3, 4]}}
        override(table, "expect[1].below=5")
        override(table, "network.hidden[0]=7")
        assert table == {"expect": [{"below": 1}, {"below": 5}], "network": {"hidden": [7, 4]}}
        with pytest.raises(ConfigError, match=r"expect: is a list of 2, so it has no \[2\]"):
            override(table, "expect[2].below=5")
        with pytest.raises(ConfigError, match=r"network: is .*, not a list, so it has no \[0\]"):
            override(table, "network[0]=5")

    @pytest.mark.parametrize("assignment", ["seed", "=3", ".a=3", "a.=3", "a..b=3", ""])
    def test_what_is_no_assignment_is_refused(self, assignment: str) -> None:
        with pytest.raises(ConfigError, match="--set needs key=value"):
            override({}, assignment)


FILE = """\
title = "x"

[data]  # a comment
source = "gaussian"
preprocess = ["zero_mean"]
[network]
hidden = { depth = 3, width = 5 }
# width = 7
optimizer.name = "sgd"

[[expect]]
metric = "loss"
[[expect]]
metric = "los"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("title", 1),
        ("data", 3),
        ("data.source", 4),
        ("data.missing", 3),
        ("data.preprocess[0]", 5),
        ("network.hidden.width", 7),
        ("network.optimizer.name", 9),
        ("expect[0].metric", 12),
        ("expect[1].metric", 14),
        ("expect[1]", 13),
        ("train", None),
    ],
)
def test_the_line_of_a_key_or_of_its_nearest_part_is_found(path: str, line: int | None) -> None:
    assert find_line(FILE, path) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pca", PCA()),
        ("pca()", PCA()),
        ("pca(64)", PCA(64)),
        (" pca ( 64 ) ", PCA(64)),
        ("whiten(1e-3, 5)", Whiten(1e-3, 5)),
        ("scale(0.5)", Scale(0.5)),
        ("zero_mean()", ZeroMean()),
    ],
)
def test_a_member_may_be_written_like_a_call(text: str, expected: object) -> None:
    assert member(preprocessors, text, "x") == expected


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("pca(64", "x", r"cannot read 'pca\(64', expected pca\(k\)"),
        ("pca(64) 5", "x", "cannot read"),
        ("pca(k)", "x", "cannot read"),
        ("pca(1, 2)", "x", r"expected pca\(k\)"),
        ("zero_mean(1)", "x", "it has no settings"),
        ("pca('a')", "x.k", "'int', got 'a'"),
        ("pca(-1)", "x.k", "must not be negative"),
        ("pac(64)", "x", "unknown preprocessing step 'pac"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused(text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        member(preprocessors, text, "x")
    assert error.value.path == path
