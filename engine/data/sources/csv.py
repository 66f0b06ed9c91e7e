"""Tables in CSV files: one line per example, one column of labels, numbers in all others."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from engine.data.dataset import Examples, Loaded, Source, sources
from engine.data.sources.files import encode_labels, find_file
from engine.errors import DataError, UnknownNameError, require

Row = tuple[int, list[str]]  # the line in the file, from 1, and its fields


@sources.register("csv")
@dataclass(frozen=True)
class Csv(Source):
    """A UTF-8 file at `path`. `label` is the name or the number of a column; −1 is the last.

    With `header` "auto" the first line names the columns if none of its fields is a number, or if
    `label` is a name. Labels are whole numbers or words; their classes are sorted.
    """

    path_settings: ClassVar = ("path",)
    path: str  # of the file
    label: str | int = -1  # column of the labels, by name or number
    header: bool | Literal["auto"] = "auto"  # whether the first line has names
    delimiter: str = ","  # character between two fields

    def __post_init__(self) -> None:
        good = len(self.delimiter) == 1 and self.delimiter not in '"\r\n\0'
        require(
            good, "delimiter", f"must be one character other than a quote, is {self.delimiter!r}"
        )
        named = self.header is False and isinstance(self.label, str)
        require(not named, "label", "is a name, but with header = false columns have none")

    def load(self, *, generator: np.random.Generator, directory: Path | None) -> Loaded:
        path = find_file(self.path, directory)
        rows = _rows(path, self.delimiter)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path} is empty, expected a line for each example")
        names = [field.strip() for field in first[1]] if self._is_header(first[1]) else None
        width = len(first[1])
        label = self._label_column(path, names, width)
        if width < 2:
            raise DataError(
                f"{path} line {first[0]}: one column, expected a label and at least one number; "
                f"the delimiter is {self.delimiter!r}"
            )
        if names is None:
            rows = chain([first], rows)
        table = _Table(path, names, label, width)
        table.read(rows)
        x = table.numbers()
        y, classes = encode_labels(table.labels, table.place)
        return Loaded(f"{path.name} {len(y)}×{x.shape[1]}", classes, Examples(x, y))

    def _is_header(self, fields: Sequence[str]) -> bool:
        if self.header != "auto":
            return self.header
        return isinstance(self.label, str) or not any(map(_is_number, fields))

    def _label_column(self, path: Path, names: Sequence[str] | None, width: int) -> int:
        if isinstance(self.label, int):
            require(
                -width <= self.label < width,
                "label",
                f"is {self.label}, but {path} has the columns 0 … {width - 1}",
            )
            return self.label % width
        names = names or ()
        if self.label not in names:
            raise UnknownNameError(f"column of {path}", self.label, names, "label")
        twice = names.count(self.label) > 1
        require(not twice, "label", f"'{self.label}' is the name of several columns of {path}")
        return names.index(self.label)


class _Table:
    """Collects the rows, with packed numbers: Python floats take four times the memory."""

    def __init__(self, path: Path, names: Sequence[str] | None, label: int, width: int) -> None:
        self._path, self._names, self._label, self._width = path, names, label, width
        self._values, self._lines = array("d"), array("q")
        self.labels: list[str] = []

    def read(self, rows: Iterator[Row]) -> None:
        for line, fields in rows:
            if len(fields) != self._width:
                raise DataError(
                    f"{self._path} line {line}: {len(fields)} fields, expected {self._width}"
                )
            self._lines.append(line)
            self.labels.append(fields.pop(self._label).strip())
            try:
                self._values.extend(map(float, fields))
            except ValueError:
                wrong = next(at for at, field in enumerate(fields) if not _is_number(field))
                self._refuse(len(self.labels) - 1, wrong, fields[wrong])

    def numbers(self) -> npt.NDArray[np.float64]:
        """Return the features (examples, features), all finite."""
        if not self.labels:
            raise DataError(f"{self._path} has a header and nothing else, expected examples")
        x: npt.NDArray[Any] = np.array(self._values).reshape(len(self.labels), -1)
        if not np.isfinite(x).all():
            row, column = map(int, np.argwhere(~np.isfinite(x))[0])
            self._refuse(row, column, str(x[row, column]))
        return x

    def place(self, row: int) -> str:
        """Return where the label of an example is, for a message."""
        return self._where(row, self._label)

    def _refuse(self, row: int, feature: int, field: str) -> None:
        column = feature + (feature >= self._label)  # features exclude the label's column
        what = f"'{field}'" if field.strip() else "nothing"
        raise DataError(f"{self._where(row, column)}: expected a finite number, found {what}")

    def _where(self, row: int, column: int) -> str:
        named = f"'{self._names[column]}'" if self._names else f"{column} (the first is 0)"
        return f"{self._path} line {self._lines[row]}, column {named}"


def _rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Yield the rows of a file that are not blank. Raises DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for fields in reader:
                if len(fields) > 1 or any(field.strip() for field in fields):
                    yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
