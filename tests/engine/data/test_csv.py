"""CSV files: headers, labels and delimiters as people have them, and errors with their line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.dataset import Loaded
from engine.data.sources.csv import Csv
from engine.errors import ConfigError, DataError

IRIS = """length,width,species
5.1,3.5,setosa
7.0,3.2,versicolor

4.9,3e0,setosa
"""


def load(folder: Path, text: str | bytes, **settings: Any) -> Loaded:
    content = text.encode() if isinstance(text, str) else text
    (folder / "table.csv").write_bytes(content)
    source = Csv("table.csv", **settings)
    return source.load(generator=np.random.default_rng(0), directory=folder)


def refusal(folder: Path, text: str | bytes, **settings: Any) -> str:
    with pytest.raises(DataError) as error:
        load(folder, text, **settings)
    return str(error.value)


def test_a_table_with_a_header_and_words_for_labels(tmp_path: Path) -> None:
    loaded = load(tmp_path, IRIS)
    assert loaded.name == "table.csv 3×2"
    assert loaded.classes == ("setosa", "versicolor")
    assert loaded.train.y.tolist() == [0, 1, 0]
    assert loaded.train.x.tolist() == [[5.1, 3.5], [7.0, 3.2], [4.9, 3.0]]
    assert loaded.pixels is None


def test_without_a_header_the_first_line_is_an_example(tmp_path: Path) -> None:
    for settings in ({}, {"header": False}):
        loaded = load(tmp_path, "1,2,a\n3,4,b\n", **settings)
        assert loaded.train.x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("settings", [{"header": True}, {"label": "0"}])
def test_a_header_of_numbers_is_one_where_it_is_said_or_the_label_named(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    loaded = load(tmp_path, "2,1,0\n5,6,0\n7,8,1\n", **settings)
    assert loaded.train.x.tolist() == [[5, 6], [7, 8]]
    assert loaded.train.y.tolist() == [0, 1]


@pytest.mark.parametrize("label", [1, -2, "kind"])
def test_the_label_may_be_any_column(tmp_path: Path, label: int | str) -> None:
    loaded = load(tmp_path, "a, kind ,b\n1,x,2\n3,y,4\n", label=label)
    assert loaded.classes == ("x", "y")
    assert loaded.train.x.tolist() == [[1, 2], [3, 4]]


def test_another_delimiter_quotes_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"a";label\r\n"1.5";"x;y"\r\n2;z\r\n'
    loaded = load(tmp_path, text, delimiter=";", label="label")
    assert loaded.classes == ("x;y", "z")
    assert loaded.train.x.tolist() == [[1.5], [2]]


@pytest.mark.parametrize(
    ("labels", "classes", "y"),
    [
        (["10", "2", "10"], ("2", "10"), [1, 0, 1]),
        (["1.0", "1", "-3"], ("-3", "1"), [1, 1, 0]),
        (["10", "2", "x"], ("10", "2", "x"), [0, 1, 2]),
        ([" b", "a ", "b"], ("a", "b"), [1, 0, 1]),
    ],
)
def test_numbers_are_sorted_as_numbers_and_words_as_words(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...], y: list[int]
) -> None:
    loaded = load(tmp_path, "".join(f"0,{label}\n" for label in labels))
    assert loaded.classes == classes
    assert loaded.train.y.tolist() == y


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, expected a line for each example"),
        ("\n  \n", "is empty"),
        ("a,b\n", "has a header and nothing else"),
        ("x\ny\n", "line 1: one column, expected a label and at least one number"),
        ("a,b,c\n1,2,x\n\n1,y\n", "line 4: 2 fields, expected 3"),
        ("a,b,c\n1,2,x\n1,2,3,y\n", "line 3: 4 fields, expected 3"),
        ("a,b,c\n1,2,x\n1,2O,y\n", "line 3, column 'b': expected a finite number, found '2O'"),
        ("a,b,c\n1,2,x\n ,2,y\n", "line 3, column 'a': expected a finite number, found nothing"),
        ("a,b,c\n1,2,x\n,,\n", "line 3, column 'a': expected a finite number, found nothing"),
        ("a,b,c\n1,nan,x\n1,2,y\n", "line 2, column 'b': expected a finite number, found 'nan'"),
        ("1,1e999,x\n1,2,y\n", "line 1, column 1 (the first is 0): expected a finite number"),
        ("a,b\n1,x\n2,\n", "line 3, column 'b': the label is missing"),
        ("a,b\n1,0\n2,0.5\n", "line 3, column 'b': the label '0.5' is not a class"),
        ("a,b\n1,0\n2,nan\n", "line 3, column 'b': the label 'nan' is not a class"),
        ("a,b\n1,x\n2,x\n", "column 'b': all 2 labels are 'x', expected at least 2 classes"),
        ('a,b\n1,"x\n', "line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", "is not UTF-8 text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line_and_column(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    said = refusal(tmp_path, text)
    assert said.startswith(f"{tmp_path / 'table.csv'} ")
    assert message in said


def test_the_column_is_the_right_one_with_the_label_before_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, "kind,a,b\nx,1,2\ny,1,?\n", label="kind")
    assert "line 3, column 'b': expected a finite number, found '?'" in said


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({"label": 3}, "label", "is 3, but .* has the columns 0 … 2"),
        ({"label": -4}, "label", "is -4"),
        ({"label": "specis"}, "label", "did you mean 'species'.*allowed: length, species, width"),
        ({"label": "species", "header": False}, "label", "columns have none"),
        ({"delimiter": ""}, "delimiter", "one character"),
        ({"delimiter": '"'}, "delimiter", "other than a quote"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, settings: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, IRIS, **settings)
    assert error.value.path == path


def test_a_label_that_names_two_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several columns"):
        load(tmp_path, "a,a,b\n1,2,3\n", label="a")


def test_a_file_is_found_by_its_whole_path_whatever_the_folder(tmp_path: Path) -> None:
    load(tmp_path, IRIS)
    source = Csv(str(tmp_path / "table.csv"))
    for directory in (None, tmp_path / "elsewhere"):
        assert len(source.load(generator=np.random.default_rng(0), directory=directory).train) == 3


@pytest.mark.parametrize(
    ("path", "directory", "message"),
    [
        ("none.csv", Path("data"), "no file 'none.csv', neither beside the scenario .* in data"),
        ("none.csv", None, "none.csv: no such file"),
        ("/none.csv", Path("data"), "/none.csv: no such file"),
    ],
)
def test_a_missing_file_is_said_with_where_was_looked(
    path: str, directory: Path | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Csv(path).load(generator=np.random.default_rng(0), directory=directory)
